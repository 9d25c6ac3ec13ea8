"""The judge: originals, reconstructions and indices in, numbers out.

It never sees which method made them. Everything is float32 without autocast. A reconstruction is
clamped and rounded to uint8, and every metric starts from that same uint8. FID-like distances
compare reconstructions with exactly the images they came from. Features are extracted once for all
distances.

Metrics beyond the standard ones are arguments, so that a new metric leaves this code, and so the
protocol of all tables, as it is; `bench.metrics.by_name` finds them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from bench.metrics import (
    CodebookReport,
    CodebookStatistics,
    Extractor,
    l1,
    mean_psnr_db,
    psnr_db,
    ssim,
    to_float,
    to_uint8,
)
from bench.metrics.distances import Features, Jackknifed, frechet, kernel
from bench.metrics.request import RequestedMetric
from models import AutoEncoder, PerceptualDistance, build_perceptual

PIXELS_PER_BATCH = 2**20

Pairs = Iterable[tuple[UInt8[Tensor, "n 3 h w"], UInt8[Tensor, "n 3 h w"]]]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The judge's numbers.

    Attributes:
        metrics: one number each; names carry the unit or the network.
        per_image: the values behind those metrics that are means over images, in test order.
        leave_group_out: metrics of sets without each group of images in turn, for intervals;
            empty for fewer than 3 images.
        codebooks: how the codes were used.
    """

    metrics: dict[str, float]
    per_image: dict[str, list[float]]
    leave_group_out: dict[str, list[float]]
    codebooks: CodebookReport


def choose_perceptual_metric(choice: str | Mapping[str, Any]) -> PerceptualDistance | None:
    """A perceptual distance to report, by name or as a mapping with `name` and options.

    `auto` is LPIPS (AlexNet) if its weights are on this machine, and `lpips_rand` otherwise.
    """
    options = {"name": choice} if isinstance(choice, str) else dict(choice)
    if options["name"] != "auto":
        return build_perceptual(**options)
    try:
        return build_perceptual("lpips_alex")
    except FileNotFoundError:
        return build_perceptual("lpips_rand")


def reconstruct(
    autoencoder: AutoEncoder, images: UInt8[Tensor, "n 3 H W"], *, device: torch.device
) -> tuple[UInt8[Tensor, "n 3 H W"], CodebookReport]:
    """Passes all images through a model in eval mode, in batches of about 2^20 pixels."""
    statistics = CodebookStatistics(autoencoder.bottleneck.quantizer.codebook_sizes)
    reconstruction = torch.empty_like(images)
    autoencoder.eval()
    with torch.inference_mode():
        for rows in _batches(images):
            output = autoencoder(to_float(images[rows].to(device)))
            reconstruction[rows] = to_uint8(output.reconstruction).cpu()
            statistics.add(output.indices.cpu())
    return reconstruction, statistics.result()


def evaluate(
    images: UInt8[Tensor, "n 3 H W"],
    reconstruction: UInt8[Tensor, "n 3 H W"],
    codebooks: CodebookReport,
    *,
    extractor: Extractor,
    perceptual: PerceptualDistance | None,
    device: torch.device,
    metrics: Sequence[RequestedMetric] = (),
) -> Evaluation:
    """Scores reconstructions against their originals, both in the same order."""
    standard = standard_metrics(extractor, perceptual, device)
    return evaluate_pairs(
        [(images, reconstruction)],
        codebooks,
        count=len(images),
        metrics=[*standard, *metrics],
        device=device,
    )


def standard_metrics(
    extractor: Extractor,
    perceptual: PerceptualDistance | None,
    device: torch.device,
    *,
    kernel: Callable[[Features, Features], Jackknifed] = kernel,
) -> list[RequestedMetric]:
    """The metrics of every evaluation.

    Args:
        extractor: of the distances between sets.
        perceptual: a perceptual distance, or None.
        device: where networks compute.
        kernel: computes the kernel distance; that of `bench.score` serves sets of any size.
    """
    functions: dict[str, Callable[..., Any]] = {"psnr_db": psnr_db, "ssim": ssim, "l1": l1}
    if perceptual:
        functions[perceptual.name] = partial(_perceptual, perceptual.to(device), device)
    sets = {"fd": frechet, "kid": kernel}
    return [
        *(RequestedMetric(key=k, kind="image", function=f) for k, f in functions.items()),
        *(
            RequestedMetric(key=extractor.key(k), kind="set", function=f, extractor=extractor)
            for k, f in sets.items()
        ),
    ]


def evaluate_pairs(
    pairs: Pairs,
    codebooks: CodebookReport,
    *,
    count: int,
    metrics: Sequence[RequestedMetric],
    device: torch.device,
) -> Evaluation:
    """Scores pairs that come in batches; one batch of images is held at a time.

    Features are kept: Inception's of 50,000 images take 0.4 GB, their pixels at 256 px 10 GB.

    Args:
        pairs: originals and reconstructions, in batches.
        codebooks: how the codes behind the reconstructions were used.
        count: number of pairs.
        metrics: `psnr_db` must be one of them. The first of two with the same key counts.
        device: where features are computed.

    Raises:
        ValueError: fewer than 2 images, images too small for a metric, or another number of pairs.
    """
    if count < 2:
        raise ValueError(f"distances between sets need at least 2 images, got {count}")
    requests: dict[str, RequestedMetric] = {}
    for metric in metrics:
        requests.setdefault(metric.key, metric)
    per_image, features = _one_pass(pairs, requests.values(), count=count, device=device)
    numbers = {key: float(values.double().mean()) for key, values in per_image.items()}
    psnr = mean_psnr_db(per_image["psnr_db"])
    numbers |= {"psnr_db": psnr.finite_mean_db, "exact_images": float(psnr.exact_images)}
    leave_group_out = {}
    for key, metric in requests.items():
        if metric.kind == "pooled":
            numbers[key] = float(metric.function(per_image["psnr_db"]))
        if metric.extractor:
            result = metric.function(*features[metric.extractor.identity])
            if isinstance(result, Jackknifed):
                result, left_out = result
                if left_out:
                    leave_group_out[key] = left_out
            numbers[key] = float(result)
    return Evaluation(
        metrics=numbers,
        per_image={key: values.tolist() for key, values in per_image.items()},
        leave_group_out=leave_group_out,
        codebooks=codebooks,
    )


def _one_pass(
    pairs: Pairs, metrics: Iterable[RequestedMetric], *, count: int, device: torch.device
) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, Tensor]]]:
    """Values of every image by metric, and features of both sides by identity of the extractor."""
    functions = {metric.key: metric.function for metric in metrics if metric.kind == "image"}
    extractors = {m.extractor.identity: m.extractor for m in metrics if m.extractor}
    opened = {identity: extractor.open(device) for identity, extractor in extractors.items()}
    values = {key: _Rows(count) for key in functions}
    features = {identity: (_Rows(count), _Rows(count)) for identity in opened}
    for pair in pairs:
        for key, function in functions.items():
            values[key].add(function(*pair))
        for identity, extract in opened.items():
            for rows, images in zip(features[identity], pair, strict=True):
                rows.add(extract(images))
    return (
        {key: rows.all() for key, rows in values.items()},
        {identity: (first.all(), second.all()) for identity, (first, second) in features.items()},
    )


class _Rows:
    """Rows that come in batches, collected in one block of memory.

    Many small tensors between large batches would keep the allocator from reusing memory.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._filled = 0
        self._rows: Tensor | None = None

    def add(self, batch: Tensor) -> None:
        stop = self._filled + len(batch)
        if stop > self._count:
            raise ValueError(f"expected {self._count} pairs of images, got at least {stop}")
        if self._rows is None:
            self._rows = batch.new_empty(self._count, *batch.shape[1:])
        self._rows[self._filled : stop] = batch
        self._filled = stop

    def all(self) -> Tensor:
        if self._rows is None or self._filled < self._count:
            raise ValueError(f"expected {self._count} pairs of images, got {self._filled}")
        return self._rows


def _perceptual(
    perceptual: PerceptualDistance,
    device: torch.device,
    images: UInt8[Tensor, "n 3 H W"],
    reconstruction: UInt8[Tensor, "n 3 H W"],
) -> Float[Tensor, " n"]:
    with torch.inference_mode():
        distances = [
            perceptual(to_float(images[rows].to(device)), to_float(reconstruction[rows].to(device)))
            for rows in _batches(images)
        ]
    return torch.cat(distances).cpu()


def _batches(images: UInt8[Tensor, "n 3 H W"]) -> list[slice]:
    size = max(1, PIXELS_PER_BATCH // (images.shape[2] * images.shape[3]))
    return [slice(first, first + size) for first in range(0, len(images), size)]
