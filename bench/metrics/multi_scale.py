"""MS-SSIM of single images.

Wang, Simoncelli, Bovik, "Multi-scale structural similarity for image quality assessment", Asilomar
2003, equation 7 and its five weights; computed for R, G and B, then averaged. Each scale halves the
one before by the mean of 2 x 2 pixels. A negative mean of contrast and structure counts as 0.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from bench.metrics.image import WINDOW, luminance_and_structure
from bench.metrics.pixels import check_pair, paired_chunks

_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MIN_SIDE = WINDOW * 2 ** (len(_SCALE_WEIGHTS) - 1)  # 176 pixels


def ms_ssim(
    reference: UInt8[Tensor, "n 3 h w"], reconstruction: UInt8[Tensor, "n 3 h w"]
) -> Float[Tensor, " n"]:
    """Multi-scale structural similarity of each image, float64: 1 for an exact copy, at least 0.

    Raises:
        TypeError, ValueError: not two equally shaped uint8 stacks, see `check_pair`, or images
            with a side below 176 pixels, whose coarsest scale is smaller than the window.
    """
    check_pair(reference, reconstruction)
    height, width = reference.shape[-2:]
    if min(height, width) < MIN_SIDE:
        raise ValueError(
            f"MS-SSIM needs images of at least {MIN_SIDE} x {MIN_SIDE} "
            f"pixels, got {height} x {width}"
        )
    chunks = paired_chunks(reference, reconstruction)
    return torch.cat([_ms_ssim(x.double(), y.double()) for x, y in chunks])


def _ms_ssim(x: Float[Tensor, "m 3 h w"], y: Float[Tensor, "m 3 h w"]) -> Float[Tensor, " m"]:
    product = torch.ones(x.shape[:2], dtype=torch.float64, device=x.device)
    for scale, weight in enumerate(_SCALE_WEIGHTS):
        similarity, structure = luminance_and_structure(x, y)
        coarsest = scale == len(_SCALE_WEIGHTS) - 1  # luminance counts there alone
        factor = (similarity if coarsest else structure).mean(dim=(2, 3))
        product *= factor.clamp(min=0) ** weight
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return product.mean(dim=1)
