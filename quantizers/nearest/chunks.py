"""Exact nearest-code search in any number of channels, one chunk of the codebook after another.

Matrix products search each chunk (`nearest_blocks`). Where Numba is installed, compiled code does:
a tree for many codes of few channels (`nearest_tree`), else loops (`nearest_loops`). Each leaves to
the next what it cannot prove. All find the same code for every latent: the one at the smallest
distance in float64.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quantizers.nearest.dot_products import keep_freed_memory
from quantizers.nearest.two_passes import Blocks

_PREPARED = 1 << 20  # coordinates of the codes that are searched at a time: 4 MiB
_LATENTS = 1 << 16  # that are searched at a time
_COMPARED = 1 << 16  # coordinates that are compared in float64 at a time: 512 KiB
_MOST_CHANNELS = 256  # of the loops; products of more are as fast
_WORTH_LOADING = 1 << 20  # products; of fewer a search takes less than a millisecond
_CHANNELS_OF_A_TREE = 6  # at most; of more it meets too many codes
_CODES_OF_A_TREE = 1 << 11  # at least, times two for every channel
_LATENTS_OF_A_TREE = 1 << 12  # likewise: to build it takes as long as the loops take for these
_ENOUGH_LATENTS = 1 << 16  # for a tree of any number of channels

Coordinates = Callable[[Tensor], Tensor]
Search = Callable[[Tensor], Tensor]


class Attempt(Protocol):
    """Codes that are prepared for a search which may leave some latents."""

    def search(self, latents: Float[Tensor, "n d"]) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
        """Index of the nearest code for each latent, and whether it is certain."""


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
    if len(latents) == 0:
        return torch.empty(0, dtype=torch.int64)
    keep_freed_memory()
    parts = latents.split(_LATENTS)
    chunks = codebook.chunk(-(-codebook.numel() // _PREPARED))
    if len(chunks) == 1:
        search = _search_of(coordinates(codebook), len(latents))
        found = [search(coordinates(part)) for part in parts]
        return found[0] if len(found) == 1 else torch.cat(found)
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
    attempts = [cache(partial(kind, codes)) for kind in _worth_trying(codes, latents)]
    return partial(_in_turn, attempts, cache(partial(Blocks, codes)))


def _in_turn(
    attempts: Sequence[Callable[[], Attempt]], blocks: Callable[[], Blocks], latents: Tensor
) -> Tensor:
    """What the first attempt leaves goes to the next; each is prepared when a latent needs it."""
    if not attempts:
        return blocks().search(latents)
    indices, certain = attempts[0]().search(latents)
    if not certain.all():
        doubtful = certain.logical_not_()
        indices[doubtful] = _in_turn(attempts[1:], blocks, latents[doubtful])
    return indices


def _worth_trying(codes: Float[Tensor, "v d"], latents: int) -> list[Callable[[Tensor], Attempt]]:
    """What may search for some or all of the latents faster than products do, in turn."""
    size, channels = codes.shape
    if codes.numel() * latents < _WORTH_LOADING or channels > _MOST_CHANNELS:
        return []
    numba = _numba()
    if numba is None:
        return []
    if (
        1 < channels <= _CHANNELS_OF_A_TREE
        and size >= _CODES_OF_A_TREE << channels
        and latents >= min(_LATENTS_OF_A_TREE << channels, _ENOUGH_LATENTS)
    ):
        return [import_module("quantizers.nearest.tree_numba").Tree, numba.Loops]
    return [numba.Loops]


@cache
def _numba() -> ModuleType | None:
    """The compiled loops, where Numba can be imported."""
    if find_spec("numba") is None:
        return None
    try:
        return import_module("quantizers.nearest.loops")
    except (ImportError, RuntimeError) as error:  # NumPy is too new, or no folder can be written
        warnings.warn(
            f"nearest searches without Numba, so more slowly: {error}; uninstall numba, or set "
            "NUMBA_CACHE_DIR to a folder for its compiled code",
            stacklevel=2,
        )
        return None
