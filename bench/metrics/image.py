"""Distortion of single images: PSNR, SSIM and mean absolute error, from uint8 pairs.

PSNR is 10 log10(255^2 / MSE) with the MSE over all pixels and channels of an image. Squared errors
are summed as integers, so the MSE is exact. Papers use two different means over a set:

- `psnr_db` and `mean_psnr_db`: PSNR of each image, then the mean (the usual one).
- `pooled_psnr_db`: the MSE of the whole set, then its PSNR (as in the GSQ code). It is never above
  the first, because PSNR is convex in the MSE.

SSIM follows Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to
structural similarity", IEEE TIP 13(4), 2004, section III.C: 11 x 11 Gaussian window with a standard
deviation of 1.5 pixels, K1 = 0.01, K2 = 0.03. Deviation: the paper compares grey images; here SSIM
is computed for R, G and B, then averaged, as in scikit-image and most tokenizer papers.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from bench.metrics.pixels import check_pair, paired_chunks

_PEAK = 255
WINDOW = 11  # pixels; also the smallest image side that SSIM accepts
_SIGMA = 1.5  # pixels
_C1 = (0.01 * _PEAK) ** 2
_C2 = (0.03 * _PEAK) ** 2


class MeanPsnr(NamedTuple):
    """Mean of per-image PSNR, without the exact reconstructions.

    Attributes:
        finite_mean_db: mean over the images that have an error; infinite if all are exact.
        exact_images: number of images without an error. Their PSNR is infinite, so the mean leaves
            them out.
    """

    finite_mean_db: float
    exact_images: int


def psnr_db(
    reference: UInt8[Tensor, "n 3 h w"], reconstruction: UInt8[Tensor, "n 3 h w"]
) -> Float[Tensor, " n"]:
    """Peak signal-to-noise ratio of each image in dB, float64; infinite for an exact copy.

    Raises:
        TypeError, ValueError: not two equally shaped uint8 stacks, see `check_pair`.
    """
    squared_error = _squared_error(reference, reconstruction)
    return _mse_to_db(squared_error.double() / reference[0].numel())


def mean_psnr_db(psnr: Float[Tensor, " n"]) -> MeanPsnr:
    """Averages the per-image values of `psnr_db` over the images that have an error.

    A single exact image would make the plain mean infinite; such images are counted instead.

    Raises:
        ValueError: no values, or a NaN among them.
    """
    if psnr.numel() == 0 or psnr.isnan().any():
        raise ValueError(f"expected at least one PSNR value and no NaN, got {psnr.tolist()[:8]}")
    finite = psnr[psnr.isfinite()]
    mean = finite.double().mean().item() if finite.numel() else torch.inf
    return MeanPsnr(finite_mean_db=mean, exact_images=psnr.numel() - finite.numel())


def pooled_psnr_db(
    reference: UInt8[Tensor, "n 3 h w"], reconstruction: UInt8[Tensor, "n 3 h w"]
) -> float:
    """PSNR in dB of the MSE of the whole set; infinite if every image is exact.

    Raises:
        TypeError, ValueError: not two equally shaped uint8 stacks, see `check_pair`.
    """
    squared_error = _squared_error(reference, reconstruction).sum()
    return _mse_to_db(squared_error.double() / reference.numel()).item()


def l1(
    reference: UInt8[Tensor, "n 3 h w"], reconstruction: UInt8[Tensor, "n 3 h w"]
) -> Float[Tensor, " n"]:
    """Mean absolute error of each image, float64, in levels of 255 (0 is exact, 255 the worst).

    Raises:
        TypeError, ValueError: not two equally shaped uint8 stacks, see `check_pair`.
    """
    check_pair(reference, reconstruction)
    sums = [
        (x.short() - y.short()).abs().sum(dim=(1, 2, 3))
        for x, y in paired_chunks(reference, reconstruction)
    ]
    return torch.cat(sums).double() / reference[0].numel()


def ssim(
    reference: UInt8[Tensor, "n 3 h w"], reconstruction: UInt8[Tensor, "n 3 h w"]
) -> Float[Tensor, " n"]:
    """Structural similarity of each image, float64: 1 for an exact copy, at least -1.

    Averaged over channels and over the positions where the window lies inside the image.

    Raises:
        TypeError, ValueError: not two equally shaped uint8 stacks, see `check_pair`, or images
            smaller than the 11-pixel window.
    """
    check_pair(reference, reconstruction)
    height, width = reference.shape[-2:]
    if min(height, width) < WINDOW:
        raise ValueError(
            f"SSIM needs images of at least {WINDOW} x {WINDOW} pixels, got {height} x {width}"
        )
    return torch.cat(
        [
            luminance_and_structure(x.double(), y.double())[0].mean(dim=(1, 2, 3))
            for x, y in paired_chunks(reference, reconstruction)
        ]
    )


def _squared_error(
    reference: UInt8[Tensor, "n 3 h w"], reconstruction: UInt8[Tensor, "n 3 h w"]
) -> Int[Tensor, " n"]:
    """Sum of squared differences of each image; exact, in int64."""
    check_pair(reference, reconstruction)
    sums = [
        (x.int() - y.int()).square().sum(dim=(1, 2, 3))
        for x, y in paired_chunks(reference, reconstruction)
    ]
    return torch.cat(sums)


def _mse_to_db(mse: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    return 10 * torch.log10(_PEAK**2 / mse)  # for tensors x / 0 is infinity, as needed here


def luminance_and_structure(
    x: Float[Tensor, "m 3 h w"], y: Float[Tensor, "m 3 h w"]
) -> tuple[Float[Tensor, "m 3 H W"], Float[Tensor, "m 3 H W"]]:
    """SSIM, equation 13 of its paper, and its factor for contrast and structure.

    Both at each position of the valid region, H = h - 10, W = w - 10. They need float64, since
    E[x^2] - E[x]^2 subtracts numbers of up to 65025 for a variance near 0.
    """
    mean_x, mean_y = _smooth(x), _smooth(y)
    variance_x = _smooth(x * x) - mean_x * mean_x
    variance_y = _smooth(y * y) - mean_y * mean_y
    covariance = _smooth(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x * mean_x + mean_y * mean_y + _C1)
    structure = (2 * covariance + _C2) / (variance_x + variance_y + _C2)
    return luminance * structure, structure


def _smooth(images: Float[Tensor, "m 3 h w"]) -> Float[Tensor, "m 3 H W"]:
    """Applies the Gaussian window to the valid region, one axis after the other.

    On CPUs a sum of shifted slices is many times faster than conv2d in float64.
    """
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    taps: list[float] = (weights / weights.sum()).tolist()
    for axis in (-2, -1):
        valid = images.shape[axis] - WINDOW + 1
        smoothed = images.narrow(axis, 0, valid) * taps[0]
        for start, tap in enumerate(taps[1:], start=1):
            smoothed.add_(images.narrow(axis, start, valid), alpha=tap)
        images = smoothed
    return images
