"""Nearest-code search in float32 for accelerators: nothing in it makes the host wait.

Maximises `<x, c> - |c|^2 / 2`, which orders codes as the Euclidean distance does. Latents and codes
are first shifted by a common offset: this form of the distance loses all digits where both lie far
from the origin. The offset is the codebook's mean rounded to a coarse power of two, which makes the
subtraction itself exact. On CUDA a Triton kernel does the search (`nearest_triton`); without
Triton, or on another device, matrix products over tiles of codes do it.
"""

from functools import cache
from importlib.util import find_spec
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

_CODES = 4096  # of a tile
_LATENTS = 4096  # of a tile, in all groups: 64 MiB of float32 scores
_MOST_CHANNELS = 256  # of the kernel, which keeps a latent in registers

Precision = Literal["float32", "tf32", "bf16"]


def search_float32(
    latents: Float[Tensor, "g n d"],
    codebook: Float[Tensor, "g v d"],
    *,
    spherical: bool,
    precision: Precision = "float32",
) -> Int[Tensor, "g n"]:
    """Index of the code with the highest score, in each of g groups; ties go to the lowest.

    Args:
        latents: float32, finite.
        codebook: float32, at least one code; a code with an infinite element is chosen only if
            there is no other, and then index 0 is.
        spherical: compare directions.
        precision: of the factors of a product; sums are float32. Without the kernel the caller sets
            torch's to that of "tf32".
    """
    usable = codebook.isfinite().all(dim=2)
    codebook = torch.where(usable.unsqueeze(2), codebook, 0)
    if spherical:
        latents, codebook = _unit(latents), _unit(codebook)
        penalty = torch.zeros_like(codebook[:, :, 0])
    else:
        offset = _exact_offset(codebook)
        latents, codebook = latents - offset, codebook - offset
        penalty = codebook.square().sum(dim=2) / 2
    penalty = torch.where(usable, penalty, torch.inf)
    if latents.device.type == "cuda" and _has_triton() and latents.shape[2] <= _MOST_CHANNELS:
        from quantizers.nearest.triton_kernel import search_kernel

        return search_kernel(latents, codebook, penalty, precision=precision)[0]
    if precision == "bf16":
        latents, codebook = latents.bfloat16().float(), codebook.bfloat16().float()
    return search_tiles(latents, codebook, penalty)


def search_tiles(
    latents: Float[Tensor, "g n d"], codes: Float[Tensor, "g v d"], penalty: Float[Tensor, "g v"]
) -> Int[Tensor, "g n"]:
    """Index of the largest `latents @ codes.mT - penalty`, over tiles; the lowest where it ties."""
    width = max(1, _LATENTS // len(latents))
    found = [_search_rows(part, codes, penalty) for part in latents.split(width, dim=1)]
    return torch.cat(found, dim=1)


def _search_rows(latents: Tensor, codes: Tensor, penalty: Tensor) -> Tensor:
    best_score = latents.new_full(latents.shape[:2], -torch.inf)
    best = torch.zeros_like(best_score, dtype=torch.int64)
    for first in range(0, codes.shape[1], _CODES):
        some, charge = codes[:, first : first + _CODES], penalty[:, None, first : first + _CODES]
        score, index = torch.baddbmm(charge, latents, some.mT, beta=-1).max(dim=2)
        better = score > best_score  # strict: an earlier tile keeps a tie
        best = torch.where(better, index + first, best)
        best_score = torch.where(better, score, best_score)
    return best


def _exact_offset(codebook: Tensor) -> Tensor:
    """Each codebook's mean, rounded to a power of two no smaller than the codebook's spread.

    A codebook around the origin gets offset 0 and is searched as it is. Around a far point both
    operands of the subtraction are multiples of the same small unit, so the difference is exact.
    """
    mean = codebook.mean(dim=1, keepdim=True)
    spread = (
        (codebook - mean)
        .abs()
        .amax(dim=(1, 2), keepdim=True)
        .clamp_min(torch.finfo(torch.float32).tiny)
    )
    _, exponent = torch.frexp(spread)
    unit = torch.ldexp(torch.ones_like(spread), exponent)
    return (mean / unit).round() * unit


def _unit(rows: Tensor) -> Tensor:
    """Rows of length 1, but zero rows; the largest element is brought to 1 before the squares."""
    largest = rows.abs().amax(dim=-1, keepdim=True)
    scaled = rows / torch.where(largest > 0, largest, 1)
    return scaled / scaled.square().sum(dim=-1, keepdim=True).sqrt().clamp_min(1)


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None
