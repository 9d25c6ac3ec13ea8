"""Exact nearest-code search in any number of channels, one chunk of the codebook after another.

Matrix products search each chunk (`nearest_blocks`), or, for few channels and where Numba is
installed, compiled loops do (`nearest_numba`), which leave to the products what they cannot prove.
Both find the same code for every latent: the one at the smallest distance in float64.
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
_FEW_CHANNELS = 16  # more spill out of registers
_WORTH_LOADING = 1 << 22  # products; of fewer a search takes less than a millisecond

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
    chunks = codebook.chunk(-(-codebook.numel() // _PREPARED))
    indices = torch.zeros(len(latents), dtype=torch.int64)
    least = torch.full((len(latents) if len(chunks) > 1 else 0,), torch.inf, dtype=torch.float64)
    first = 0
    for chunk in chunks:
        codes = coordinates(chunk)
        search = _search_of(codes, len(latents))
        for start in range(0, len(latents), _LATENTS):
            rows = slice(start, start + _LATENTS)
            part = coordinates(latents[rows])
            found = search(part)
            if len(chunks) > 1:
                distance = (codes[found].double() - part).square_().sum(dim=1)
                closer = distance < least[rows]  # strict: an earlier code keeps a tie
                found = torch.where(closer, found + first, indices[rows])
                least[rows] = torch.where(closer, distance, least[rows])
            indices[rows] = found
        first += len(codes)
    return indices


def _search_of(codes: Float[Tensor, "v d"], latents: int) -> Search:
    """The fastest exact search among these codes for so many latents."""
    worth_it = codes.shape[1] <= _FEW_CHANNELS and codes.numel() * latents >= _WORTH_LOADING
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
