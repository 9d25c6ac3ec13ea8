"""Whether searches found the nearest codes: float64 on some rows, the best search on the others.

A code is wrong if it is further than the nearest by a margin: 1e-5 of the squared distance, or what
float32 cannot resolve in |x|^2 - 2 <x, c> + |c|^2, the form that most libraries compute.
"""

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

_ROWS = 256  # searched in float64
_RELATIVE = 1e-5
_RESOLUTION = 2.0**-20  # of the squared lengths; float32 has 24 bits
_CHUNK_NUMBERS = 1 << 22


def wrong_rows(
    latents: Float[Tensor, "n d"],
    codes: Float[Tensor, "v d"],
    answers: Sequence[Int[Tensor, " _"]],
    *,
    spherical: bool = False,
) -> list[int]:
    """Counts in each answer the rows with a code that is further than the nearest one known.

    An answer holds the indices that one search found; `spherical` compares directions.
    """
    latents, codes = latents.double(), codes.double()
    if spherical:
        latents, codes = F.normalize(latents, dim=1), F.normalize(codes, dim=1)
    rows = torch.linspace(0, len(latents) - 1, min(_ROWS, len(latents))).long().to(latents.device)
    searched = latents.new_full((len(latents),), torch.inf)
    searched[rows] = _least_distances(latents[rows], codes)
    distances = [_distances(latents, codes, indices) for indices in answers]
    least = functools.reduce(torch.minimum, distances, searched)
    lengths = latents.square().sum(dim=1) + codes.square().sum(dim=1).mean()
    margin = torch.maximum(_RELATIVE * least, _RESOLUTION * lengths)
    return [int((distance > least + margin).sum()) for distance in distances]


def _distances(
    latents: Float[Tensor, "n d"], codes: Float[Tensor, "v d"], indices: Int[Tensor, " m"]
) -> Float[Tensor, " n"]:
    """Squared distances to the codes of an answer; infinite without such a code or row."""
    if len(indices) != len(latents):
        return latents.new_full((len(latents),), torch.inf)
    known = (indices >= 0) & (indices < len(codes))
    distances = (latents - codes[torch.where(known, indices, 0)]).square().sum(dim=1)
    return torch.where(known, distances, torch.inf)


def _least_distances(
    latents: Float[Tensor, "m d"], codes: Float[Tensor, "v d"]
) -> Float[Tensor, " m"]:
    chunks = latents.split(max(1, _CHUNK_NUMBERS // len(codes)))
    mode = "use_mm_for_euclid_dist"
    return torch.cat(
        [torch.cdist(chunk, codes, compute_mode=mode).amin(dim=1) for chunk in chunks]
    ).square()
