"""The one exact nearest-code search, shared by every method that owns a codebook.

Maximises `<x, c> - |c|^2 / 2`, which orders codes as the Euclidean distance does, over tiles of
at most `TILE_BYTES`, so that no matrix of all latents by all codes is ever held. Latents and
codes are first shifted by a common offset: the expanded form of the distance loses all digits
when both lie far from the origin, and the shift restores them. The offset is the codebook's mean
rounded to a coarse power of two, which makes the subtraction itself exact.

Codes of a single channel are compared by their distance itself: thousands of codes on a line lie
closer than the square root of float32's precision, where the expanded form cannot tell them apart.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

TILE_BYTES = 4 << 20  # of float32 scores: fits the caches of one core, far below 64 MB
_CODES_PER_TILE = 4096


def nearest(
    latents: Float[Tensor, "n d"], codebook: Float[Tensor, "v d"], *, spherical: bool = False
) -> Int[Tensor, " n"]:
    """Index of the nearest code for every latent, computed in float32; ties go to the lowest.

    Args:
        latents: vectors to look up, finite.
        codebook: the codes.
        spherical: compare directions, that is maximise the cosine; a zero code has cosine 0.

    Raises:
        ValueError: shapes that do not fit, an empty codebook, or integer tensors.
    """
    _check(latents, codebook)
    with torch.no_grad(), torch.autocast(latents.device.type, enabled=False):
        latents, codebook = latents.float(), codebook.float()
        if spherical:
            latents = latents * _inverse_scale(latents)  # the cosine does not depend on length
            codebook = F.normalize(codebook * _inverse_scale(codebook), dim=1)
            return torch.ops.quantizers.search(latents, codebook, None)
        offset = _exact_offset(codebook)
        latents, codebook = latents - offset, codebook - offset
        penalty = codebook.square().sum(dim=1) / 2
        return torch.ops.quantizers.search(latents, codebook, penalty)


# `custom_op` would do the same, but its first call imports the compiler, which takes seconds
torch.library.define(
    "quantizers::search", "(Tensor latents, Tensor codebook, Tensor? penalty) -> Tensor"
)


@torch.library.impl("quantizers::search", "default")
def _search(latents: Tensor, codebook: Tensor, penalty: Tensor | None) -> Tensor:
    """Tiled argmax of `latents @ codebook.T - penalty`: opaque to the compiler, no host sync."""
    indices = torch.empty(len(latents), dtype=torch.int64, device=latents.device)
    codes_per_tile = min(len(codebook), _CODES_PER_TILE)
    rows_per_tile = max(1, TILE_BYTES // (4 * codes_per_tile))
    for row in range(0, len(latents), rows_per_tile):
        rows = slice(row, row + rows_per_tile)
        indices[rows] = _search_rows(latents[rows], codebook, penalty, codes_per_tile)
    return indices


@torch.library.register_fake("quantizers::search")
def _search_shape(latents: Tensor, codebook: Tensor, penalty: Tensor | None) -> Tensor:
    return torch.empty(latents.shape[:1], dtype=torch.int64, device=latents.device)


def _search_rows(
    latents: Tensor, codebook: Tensor, penalty: Tensor | None, codes_per_tile: int
) -> Tensor:
    best_score = latents.new_full((len(latents),), -torch.inf)
    best = torch.zeros(len(latents), dtype=torch.int64, device=latents.device)
    for first in range(0, len(codebook), codes_per_tile):
        codes = codebook[first : first + codes_per_tile]
        if penalty is None:
            scores = latents @ codes.T
        elif codes.shape[1] == 1:
            scores = -(latents - codes.T).abs()
        else:
            scores = torch.addmm(penalty[first : first + codes_per_tile], latents, codes.T, beta=-1)
        score, index = scores.max(dim=1)
        better = score > best_score  # strict: an earlier tile keeps a tie
        best = torch.where(better, index + first, best)
        best_score = torch.where(better, score, best_score)
    return best


def _exact_offset(codebook: Tensor) -> Tensor:
    """The codebook's mean, rounded to a power of two no smaller than the codebook's spread.

    A codebook around the origin gets offset 0 and is searched as it is. Around a far point both
    operands of the subtraction are multiples of the same small unit, so the difference is exact.
    """
    mean = codebook.mean(dim=0)
    spread = (codebook - mean).abs().amax().clamp_min(torch.finfo(torch.float32).tiny)
    _, exponent = torch.frexp(spread)
    unit = torch.ldexp(torch.ones_like(spread), exponent)
    return (mean / unit).round() * unit


def _inverse_scale(rows: Tensor) -> Tensor:
    """A power of two per row that brings its largest element near 1: lengths stay in range."""
    _, exponent = torch.frexp(rows.abs().amax(dim=1, keepdim=True))
    return torch.ldexp(torch.ones_like(rows[:, :1]), -exponent.clamp(-100, 126))


def _check(latents: Tensor, codebook: Tensor) -> None:
    if latents.ndim != 2 or codebook.ndim != 2 or latents.shape[1] != codebook.shape[1]:
        raise ValueError(
            "nearest expects latents (n, d) and a codebook (v, d), "
            f"got {tuple(latents.shape)} and {tuple(codebook.shape)}"
        )
    if len(codebook) == 0 or codebook.shape[1] == 0:
        raise ValueError(f"nearest expects at least one code, got {tuple(codebook.shape)}")
    if not (latents.is_floating_point() and codebook.is_floating_point()):
        raise ValueError(
            f"nearest expects floating-point tensors, got {latents.dtype} and {codebook.dtype}"
        )
