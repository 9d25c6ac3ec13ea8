"""Nearest-code search in float32 for accelerators; it never synchronizes with the CPU.

It maximises `<x, c> - |c|^2 / 2`, which orders codes like the Euclidean distance. This form loses
all digits if latents and codes lie far from the origin, so both are first shifted by an offset: the
mean of the codebook, rounded to a multiple of a coarse power of two, which makes the subtraction
exact. On CUDA a Triton kernel searches (`triton_kernel`). Without Triton, with more than 256
channels or on another device, matrix products over tiles of codes do.
"""

from functools import cache
from importlib.util import find_spec

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quantizers.nearest.dot_products import Precision

_TILE_CODES = 4096
_TILE_LATENTS = 4096  # of all groups: 64 MiB of float32 scores
_MAX_CHANNELS = 256  # of the kernel, which keeps a latent in registers


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
            there is no other; then index 0 is.
        spherical: compare directions.
        precision: of the factors of a product; sums are float32. Without the kernel, the caller
            must set torch's precision for "tf32".
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
    if latents.device.type == "cuda" and _has_triton() and latents.shape[2] <= _MAX_CHANNELS:
        from quantizers.nearest.triton_kernel import search_kernel

        return search_kernel(latents, codebook, penalty, precision=precision)[0]
    if precision == "bf16":
        latents, codebook = latents.bfloat16().float(), codebook.bfloat16().float()
    return search_tiles(latents, codebook, penalty)


def search_tiles(
    latents: Float[Tensor, "g n d"], codes: Float[Tensor, "g v d"], penalty: Float[Tensor, "g v"]
) -> Int[Tensor, "g n"]:
    """Index of the largest `latents @ codes.mT - penalty`, tile by tile; ties go to the lowest."""
    width = max(1, _TILE_LATENTS // len(latents))
    tiles = latents.split(width, dim=1)
    return torch.cat([_search_tile(tile, codes, penalty) for tile in tiles], dim=1)


def _search_tile(latents: Tensor, codes: Tensor, penalty: Tensor) -> Tensor:
    best_score = latents.new_full(latents.shape[:2], -torch.inf)
    best = torch.zeros_like(best_score, dtype=torch.int64)
    for first in range(0, codes.shape[1], _TILE_CODES):
        tile = slice(first, first + _TILE_CODES)
        scores = torch.baddbmm(penalty[:, None, tile], latents, codes[:, tile].mT, beta=-1)
        score, index = scores.max(dim=2)
        better = score > best_score  # strict: an earlier tile keeps a tie
        best = torch.where(better, index + first, best)
        best_score = torch.where(better, score, best_score)
    return best


def _exact_offset(codebook: Tensor) -> Tensor:
    """Each codebook's mean, rounded to a multiple of a power of two above the codebook's spread.

    A codebook around the origin gets offset 0 and is searched as it is. Around a far point, both
    operands of the subtraction are multiples of the same small unit, so the difference is exact.
    """
    mean = codebook.mean(dim=1, keepdim=True)
    spread = (codebook - mean).abs().amax(dim=(1, 2), keepdim=True)
    _, exponent = torch.frexp(spread.clamp_min(torch.finfo(torch.float32).tiny))
    unit = torch.ldexp(torch.ones_like(spread), exponent)
    return (mean / unit).round() * unit


def _unit(rows: Tensor) -> Tensor:
    """Rows scaled to length 1, without overflow; zero rows stay zero."""
    largest = rows.abs().amax(dim=-1, keepdim=True)
    scaled = rows / torch.where(largest > 0, largest, 1)
    return scaled / scaled.square().sum(dim=-1, keepdim=True).sqrt().clamp_min(1)


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None
