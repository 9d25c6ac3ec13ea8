"""Exact nearest-code search in any number of channels, one chunk of the codebook after another.

Matrix products search each chunk (`nearest_blocks`) or, where Numba is installed, compiled loops
(`nearest_numba`), which leave to the products what they cannot prove. Both find the same code for every latent: the one at the smallest distance in float64.
"""

import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quantizers.nearest_blocks import Blocks
from quantizers.products import keep_freed_memory

_PREPARED = 1 << 20  # coordinates of the codes that are searched at a time: 4 MiB
_LATENTS = 1 << 16  # that are searched at a time
_COMPARED = 1 << 16  # coordinates that are compared in float64 at a time: 512 KiB
_MOST_CHANNELS = 256  # of the loops; products of more are as fast
_WORTH_LOADING = 1 << 20  # products; of fewer a search takes less than a millisecond

Coordinates = Callable[[Tensor], Tensor]
Search = Callable[[Tensor], Tensor]


def search_chunks(
    latents: Float[Tensor, "n d"], codebook: Float[Tensor, "v d"], coordinates: Coordinates
) -> Int[Tensor, " n"]:
    """Index of the code at the smallest distance; the lowest of those equal in float64.

    Args:
        latents: vectors to look up.
        codebook: the codes, at least one.
        coordinates: makes the coordinates to compare, finite, from latents or from codes: a row of
            float32 or float64 from each.
    """
    keep_freed_memory()
    parts = latents.split(_LATENTS)
    chunks = codebook.chunk(-(-codebook.numel() // _PREPARED))
    if len(chunks) == 1:
        search = _search_of(coordinates(codebook), len(latents))
        return torch.cat([search(coordinates(part)) for part in parts])
    nearest_so_far = [_Nearest(len(part)) for part in parts]
    first = 0
    for chunk in chunks:
        codes = coordinates(chunk)
        search = _search_of(codes, len(latents))
        for part, nearest in zip(parts, nearest_so_far, strict=True):
            vectors = coordinates(part)
            nearest.meet(first, codes, search(vectors), vectors)
        first += len(codes)
    return torch.cat([nearest.index for nearest in nearest_so_far])


class _Nearest:
    """The nearest code of each of some latents in all chunks so far, and its squared distance."""

    def __init__(self, latents: int) -> None:
        self.index = torch.zeros(latents, dtype=torch.int64)
        self.distance = torch.full((latents,), torch.inf, dtype=torch.float64)

    def meet(
        self,
        first: int,
        codes: Float[Tensor, "v d"],
        found: Int[Tensor, " n"],
        latents: Float[Tensor, "n d"],
    ) -> None:
        """Takes the nearest codes of a chunk, which begins with code number `first`."""
        rows = max(1, _COMPARED // codes.shape[1])
        each = zip(found.split(rows), latents.split(rows), strict=True)
        distance = torch.cat(
            [(codes[some].double() - near).square_().sum(dim=1) for some, near in each]
        )
        closer = distance < self.distance  # strict: an earlier code keeps a tie
        torch.where(closer, found + first, self.index, out=self.index)
        torch.where(closer, distance, self.distance, out=self.distance)


def _search_of(codes: Float[Tensor, "v d"], latents: int) -> Search:
    """The fastest exact search among these codes for so many latents."""
    worth_it = codes.shape[1] <= _MOST_CHANNELS and codes.numel() * latents >= _WORTH_LOADING
    numba = _numba() if worth_it else None
    loops = numba.Loops(codes) if numba else None
    if loops is None or not loops.alike:
        return Blocks(codes).search

    blocks = cache(lambda: Blocks(codes))  # for the first part of the latents that needs them

    def search(latents: Tensor) -> Tensor:
        indices, certain = loops.search(latents)
        if not certain.all():
            doubtful = certain.logical_not_()
            indices[doubtful] = blocks().search(latents[doubtful])
        return indices

    return search


@cache
def _numba() -> ModuleType | None:
    """The compiled loops, where Numba can be imported."""
    if find_spec("numba") is None:
        return None
    try:
        return import_module("quantizers.nearest_numba")
    except (ImportError, RuntimeError) as error:  # NumPy is too new, or no folder can be written
        warnings.warn(
            f"nearest searches without Numba, so more slowly: {error}; uninstall numba, or set "
            "NUMBA_CACHE_DIR to a folder for its compiled code",
            stacklevel=2,
        )
        return None
