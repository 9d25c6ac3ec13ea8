"""The judge: originals, reconstructions and indices in, numbers out.

It never sees which method made them. Everything is float32 without autocast; a reconstruction is
clamped and rounded to uint8, and every metric is computed from that same uint8. A distribution is
compared with the very images that were reconstructed. One pass extracts the features for all
distances.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from bench.metrics import (
    CodebookReport,
    CodebookStatistics,
    Extractor,
    extract_features,
    l1,
    mean_psnr_db,
    psnr_db,
    ssim,
    to_float,
    to_uint8,
)
from bench.statistics import (
    frechet_distance,
    kernel_distance,
    leave_group_out_frechet,
    leave_group_out_kernel,
)
from models import AutoEncoder, PerceptualDistance, build_perceptual

_PIXELS_PER_BATCH = 2**20


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What the judge found.

    Attributes:
        metrics: one number each; names carry the unit or the network.
        per_image: the values behind those metrics that are means over images, in test order.
        leave_group_out: the other metrics without each group of images in turn, for intervals;
            empty for fewer than 3 images.
        codebooks: how the codes were used.
    """

    metrics: dict[str, float]
    per_image: dict[str, list[float]]
    leave_group_out: dict[str, list[float]]
    codebooks: CodebookReport


def choose_perceptual_metric(name: str) -> PerceptualDistance | None:
    """A perceptual distance to report; `auto` is LPIPS (AlexNet) where its weights are at hand."""
    if name != "auto":
        return build_perceptual(name)
    try:
        return build_perceptual("lpips_alex")
    except FileNotFoundError:
        return build_perceptual("lpips_rand")


def reconstruct(
    autoencoder: AutoEncoder, images: UInt8[Tensor, "n 3 H W"], *, device: torch.device
) -> tuple[UInt8[Tensor, "n 3 H W"], CodebookReport]:
    """Passes all images through a model in eval mode, in batches sized by their pixels."""
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
) -> Evaluation:
    """Scores reconstructions against their originals, both in the same order."""
    per_image = {
        "psnr_db": psnr_db(images, reconstruction),
        "ssim": ssim(images, reconstruction),
        "l1": l1(images, reconstruction),
    }
    if perceptual:
        per_image[perceptual.name] = _perceptual(images, reconstruction, perceptual, device)
    metrics = {name: float(values.double().mean()) for name, values in per_image.items()}
    psnr = mean_psnr_db(per_image["psnr_db"])
    metrics |= {"psnr_db": psnr.finite_mean_db, "exact_images": float(psnr.exact_images)}
    distances, leave_group_out = _distances(images, reconstruction, extractor, device)
    return Evaluation(
        metrics=metrics | distances,
        per_image={name: values.tolist() for name, values in per_image.items()},
        leave_group_out=leave_group_out,
        codebooks=codebooks,
    )


def kernel_key(extractor: Extractor) -> str:
    """Key of the kernel distance in records, beside `Extractor.metric_key`."""
    key = extractor.metric_key
    return "kid" if key == "rfid" else f"kid{key.removeprefix('fd')}"


def _distances(
    images: UInt8[Tensor, "n 3 H W"],
    reconstruction: UInt8[Tensor, "n 3 H W"],
    extractor: Extractor,
    device: torch.device,
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Distances between the distributions, whole and without each group of images."""
    first, second = (
        extract_features(part, extractor=extractor, device=device).double().numpy()
        for part in (images, reconstruction)
    )
    frechet, kernel = extractor.metric_key, kernel_key(extractor)
    whole = {frechet: frechet_distance(first, second), kernel: kernel_distance(first, second)}
    if len(first) < 3:
        return whole, {}
    return whole, {
        frechet: leave_group_out_frechet(first, second).tolist(),
        kernel: leave_group_out_kernel(first, second).tolist(),
    }


def _perceptual(
    images: UInt8[Tensor, "n 3 H W"],
    reconstruction: UInt8[Tensor, "n 3 H W"],
    perceptual: PerceptualDistance,
    device: torch.device,
) -> Float[Tensor, " n"]:
    perceptual = perceptual.to(device)
    with torch.inference_mode():
        distances = [
            perceptual(to_float(images[rows].to(device)), to_float(reconstruction[rows].to(device)))
            for rows in _batches(images)
        ]
    return torch.cat(distances).cpu()


def _batches(images: UInt8[Tensor, "n 3 H W"]) -> list[slice]:
    size = max(1, _PIXELS_PER_BATCH // (images.shape[2] * images.shape[3]))
    return [slice(first, first + size) for first in range(0, len(images), size)]
