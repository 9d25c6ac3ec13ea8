"""PSNR of all images together."""

from jaxtyping import Float
from torch import Tensor


def pooled_psnr_db(psnr_db: Float[Tensor, " n"]) -> float:
    """PSNR of the mean squared error of all images, from the PSNR of each; sizes are equal."""
    return float(-10 * (10 ** (-psnr_db.double() / 10)).mean().log10())
