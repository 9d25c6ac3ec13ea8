"""The judge of `bench.evaluate` for reconstructions that come in batches, with metrics by name.

It gives the numbers of `bench.evaluate`, by the same code. Only the kernel distance differs: it is
summed in the blocks of `bench.metrics.kernel`, and so rounds otherwise.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from bench.evaluate import (
    Evaluation,
    Pairs,
    choose_perceptual_metric,
    evaluate_pairs,
    standard_metrics,
)
from bench.metrics import CodebookReport, Extractor
from bench.metrics.by_name import check_metrics, metrics_by_name
from bench.metrics.extractor import choose_extractor
from bench.metrics.features import checked_device
from bench.metrics.kernel import kernel_in_blocks
from bench.metrics.request import RequestedMetric
from models import PerceptualDistance


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Everything that decides a score; built by `build_judge`.

    Attributes:
        extractor: of the two distances between sets that are always computed.
        perceptual: a perceptual distance, or None.
        requested: metrics besides the standard ones.
        device: where networks compute.
    """

    extractor: Extractor
    perceptual: PerceptualDistance | None
    requested: tuple[RequestedMetric, ...]
    device: torch.device

    def evaluate(self, pairs: Pairs, *, images: int, codebooks: CodebookReport) -> Evaluation:
        """Scores all pairs; see `bench.evaluate.evaluate_pairs`.

        Args:
            pairs: originals and reconstructions, in batches.
            images: how many pairs there are.
            codebooks: how the codes behind the reconstructions were used.

        Raises:
            ValueError: fewer than 2 images, too few or too small for a metric, or another number
                of pairs than said.
        """
        pairs = iter(pairs)
        first = list(itertools.islice(pairs, 1))
        for originals, _ in first:
            check_metrics(self.requested, originals, count=images)
        kernel = partial(kernel_in_blocks, device=self.device)
        standard = standard_metrics(self.extractor, self.perceptual, self.device, kernel=kernel)
        return evaluate_pairs(
            itertools.chain(first, pairs),
            codebooks,
            count=images,
            metrics=[*standard, *self.requested],
            device=self.device,
        )


def build_judge(
    *,
    extractor: str | Mapping[str, Any] = "auto",
    perceptual: str | Mapping[str, Any] = "auto",
    metrics: Sequence[str] = (),
    device: torch.device | str = "cpu",
) -> Judge:
    """Finds all networks, so that a missing one is known before any image is read.

    Args:
        extractor: see `bench.metrics.extractor.choose_extractor`.
        perceptual: see `choose_perceptual_metric`.
        metrics: other metrics, see `bench.metrics.by_name`.
        device: `cpu` or a CUDA device.

    Raises:
        FileNotFoundError: the weights of a network are not on this machine.
        ValueError: an unknown name, or a damaged file of weights.
    """
    own = choose_extractor(extractor)
    return Judge(
        extractor=own,
        perceptual=choose_perceptual_metric(perceptual),
        requested=tuple(metrics_by_name(metrics, extractor=own)),
        device=checked_device(device),
    )
