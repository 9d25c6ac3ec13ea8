"""Scores reconstructions that come in batches: the metrics of every evaluation, and others.

The numbers of `bench.evaluate`, by the same functions; `bench.metrics.kernel` alone has another
order of summation. One batch of images is held at a time. Features are kept: those of 50,000 images
in Inception take 0.4 GB, their pixels at 256 px 10 GB.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from bench.evaluate import Evaluation, choose_perceptual_metric
from bench.metrics import CodebookReport, l1, mean_psnr_db, psnr_db, ssim, to_float
from bench.metrics.kernel import kernel_sums
from bench.metrics.registered import RegisteredExtractor, open_extractor
from bench.score.metrics import (
    IMAGE_METRICS,
    POOLED_METRICS,
    SET_METRICS,
    Request,
    check_request,
    read_requests,
)
from bench.statistics import frechet_distance, leave_group_out_frechet
from models import PerceptualDistance

PIXELS_PER_BATCH = 2**20

ImageMetric = Callable[[Tensor, Tensor], Float[Tensor, " n"]]
Pairs = Iterable[tuple[UInt8[Tensor, "n 3 h w"], UInt8[Tensor, "n 3 h w"]]]


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Everything that decides a score; built by `build_judge`.

    Attributes:
        extractor: of the two distances between sets that are always computed.
        others: extractors that requests name, by that name.
        perceptual: a perceptual distance, or None.
        requests: other metrics.
        device: where features and the perceptual distance are computed.
    """

    extractor: RegisteredExtractor
    others: dict[str, RegisteredExtractor]
    perceptual: PerceptualDistance | None
    requests: tuple[Request, ...]
    device: torch.device

    def evaluate(self, pairs: Pairs, *, images: int, codebooks: CodebookReport) -> Evaluation:
        """Scores all pairs.

        Args:
            pairs: originals and reconstructions, in batches.
            images: how many pairs there are.
            codebooks: how the codes behind the reconstructions were used.

        Raises:
            ValueError: fewer than 2 images, too few or too small for a metric, or another number
                of pairs than said.
        """
        if images < 2:
            raise ValueError(f"distances between sets need at least 2 images, got {images}")
        per_image: dict[str, _Rows] = defaultdict(lambda: _Rows(images))
        kept: dict[str, tuple[_Rows, _Rows]] = defaultdict(lambda: (_Rows(images), _Rows(images)))
        extractors = {self.extractor.name: self.extractor} | self.others
        for reference, reconstruction in pairs:
            for name, metric in self._image_metrics().items():
                per_image[name].add(metric(reference, reconstruction))
            for name, extractor in extractors.items():
                features = extractor.features(reference), extractor.features(reconstruction)
                if name not in kept:
                    self._check(name, images=images, dimension=features[0].shape[1])
                for rows, part in zip(kept[name], features, strict=True):
                    rows.add(part)
        values = {name: rows.all() for name, rows in per_image.items()}
        sets = {name: (first.all(), second.all()) for name, (first, second) in kept.items()}
        distances, leave_group_out = self._distances(*sets[self.extractor.name])
        return Evaluation(
            metrics=_means(values) | distances | self._pooled(values) | self._requested(sets),
            per_image={name: part.tolist() for name, part in values.items()},
            leave_group_out=leave_group_out,
            codebooks=codebooks,
        )

    def _image_metrics(self) -> dict[str, ImageMetric]:
        metrics: dict[str, ImageMetric] = {"psnr_db": psnr_db, "ssim": ssim, "l1": l1}
        if self.perceptual:
            metrics[self.perceptual.name] = self._perceptual
        asked = {request.metric for request in self.requests}
        return metrics | {n: metric for n, metric in IMAGE_METRICS.items() if n in asked}

    def _perceptual(
        self, reference: UInt8[Tensor, "n 3 h w"], reconstruction: UInt8[Tensor, "n 3 h w"]
    ) -> Float[Tensor, " n"]:
        assert self.perceptual is not None
        with torch.inference_mode():
            pair = (to_float(part.to(self.device)) for part in (reference, reconstruction))
            return self.perceptual(*pair).cpu()

    def _pooled(self, values: dict[str, Tensor]) -> dict[str, float]:
        asked = [r.metric for r in self.requests if r.metric in POOLED_METRICS]
        return {name: POOLED_METRICS[name](values["psnr_db"]) for name in asked}

    def _set_requests(self) -> list[tuple[str, RegisteredExtractor]]:
        """Metric and extractor of each."""
        return [
            (request.metric, self.others.get(request.extractor or "", self.extractor))
            for request in self.requests
            if request.metric in SET_METRICS
        ]

    def _check(self, name: str, *, images: int, dimension: int) -> None:
        for metric, extractor in self._set_requests():
            if extractor.name == name:
                check_request(metric, images=images, dimension=dimension)

    def _requested(self, sets: dict[str, tuple[Tensor, Tensor]]) -> dict[str, float]:
        return {
            extractor.key(metric): SET_METRICS[metric](*sets[extractor.name])
            for metric, extractor in self._set_requests()
        }

    def _distances(
        self, reference: Float[Tensor, "n d"], reconstruction: Float[Tensor, "n d"]
    ) -> tuple[dict[str, float], dict[str, list[float]]]:
        """The two distances, whole and without each group of images."""
        frechet, kernel = self.extractor.key("fd"), self.extractor.key("kid")
        sums = kernel_sums(reference, reconstruction, device=self.device)
        first, second = reference.double().numpy(), reconstruction.double().numpy()
        whole = {frechet: frechet_distance(first, second), kernel: sums.distance()}
        if len(first) < 3:
            return whole, {}
        return whole, {
            frechet: leave_group_out_frechet(first, second).tolist(),
            kernel: sums.leave_group_out(),
        }


def build_judge(
    *,
    extractor: str = "auto",
    perceptual: str = "auto",
    metrics: Sequence[str] = (),
    device: torch.device | str = "cpu",
) -> Judge:
    """Finds all networks, so that a missing one is known before any image is read.

    Args:
        extractor: `auto` or one of `bench.metrics.registered.EXTRACTORS`.
        perceptual: as `choose_perceptual_metric`.
        metrics: other metrics, see `bench.score.metrics`.
        device: `cpu` or a CUDA device.

    Raises:
        FileNotFoundError: weights that were asked for are not on this machine.
        ValueError: an unknown name, or a damaged file of weights.
    """
    requests = read_requests(metrics)
    own = open_extractor(extractor, device=device)
    named = dict.fromkeys(request.extractor for request in requests if request.extractor)
    distance = choose_perceptual_metric(perceptual)
    return Judge(
        extractor=own,
        others={
            name: open_extractor(name, device=device) if name != own.name else own for name in named
        },
        perceptual=distance.to(own.device) if distance else None,
        requests=tuple(requests),
        device=own.device,
    )


class _Rows:
    """Rows that come in batches, in one block of memory that is as large as all of them.

    Many small tensors among the large ones of a batch would keep the allocator from reusing memory.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._filled = 0
        self._rows: Tensor | None = None

    def add(self, part: Tensor) -> None:
        stop = self._filled + len(part)
        if stop > self._count:
            raise ValueError(f"expected {self._count} pairs of images, got at least {stop}")
        if self._rows is None:
            self._rows = part.new_empty(self._count, *part.shape[1:])
        self._rows[self._filled : stop] = part
        self._filled = stop

    def all(self) -> Tensor:
        if self._rows is None or self._filled < self._count:
            raise ValueError(f"expected {self._count} pairs of images, got {self._filled}")
        return self._rows


def _means(values: dict[str, Tensor]) -> dict[str, float]:
    """Over images; exact reconstructions, whose PSNR is infinite, are counted apart."""
    psnr = mean_psnr_db(values["psnr_db"])
    return {name: float(part.double().mean()) for name, part in values.items()} | {
        "psnr_db": psnr.finite_mean_db,
        "exact_images": float(psnr.exact_images),
    }
