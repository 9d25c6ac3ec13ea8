"""Exact nearest-code search in any number of channels, one chunk of the codebook at a time.

Matrix products search each chunk (`two_passes`). If Numba is installed, compiled code goes first: a
tree for many codes with few channels (`tree_numba`), then loops (`loops`). Each search leaves to
the next what it cannot prove. All of them find the same code for every latent: the one at the
smallest distance in float64.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quantizers.nearest.dot_products import keep_freed_memory
from quantizers.nearest.two_passes import TwoPasses


@dataclass(frozen=True)
class When:
    """Large searches: `channels`, and at least that many codes and latents."""

    channels: int
    codes: int
    latents: int

    def holds(self, codes: Float[Tensor, "v d"], latents: int) -> bool:
        large = len(codes) >= self.codes and latents >= self.latents
        return codes.shape[1] == self.channels and large


_TREE = (  # with fewer latents the loops end before the tree is built
    When(channels=2, codes=8192, latents=16384),
    When(channels=3, codes=16384, latents=32768),
    When(channels=4, codes=32768, latents=65536),
    When(channels=5, codes=65536, latents=65536),
    When(channels=6, codes=131072, latents=65536),  # with more channels too few boxes are skipped
)
_MIN_PRODUCTS = 1 << 20  # for compiled code: a smaller search takes less than a millisecond
_MAX_CHANNELS = 256  # for compiled code: with more channels matrix products are as fast
_CHUNK_NUMBERS = 1 << 20  # coordinates of the codes that are searched at a time: 4 MiB
_TILE_LATENTS = 1 << 16  # that are searched at a time
_TILE_COMPARED = 1 << 16  # coordinates that are compared in float64 at a time: 512 KiB

Coordinates = Callable[[Tensor], Tensor]


class Search(Protocol):
    """Codes that are prepared for a search."""

    def search(self, latents: Float[Tensor, "n d"]) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
        """Index of the nearest code for each latent, and whether it is certain."""


def search_chunks(
    latents: Float[Tensor, "n d"], codebook: Float[Tensor, "v d"], coordinates: Coordinates
) -> Int[Tensor, " n"]:
    """Index of the code at the smallest distance; the lowest of those that tie in float64.

    Args:
        latents: vectors to look up.
        codebook: the codes, at least one.
        coordinates: maps rows of latents or codes to the coordinates to compare: finite, float32 or
            float64.
    """
    if len(latents) == 0:
        return torch.empty(0, dtype=torch.int64)
    keep_freed_memory()
    chunks = codebook.chunk(-(-codebook.numel() // _CHUNK_NUMBERS))
    if len(chunks) > 1:
        return _nearest_of_chunks(latents, chunks, coordinates)
    chunk = _Chunk(coordinates(codebook), len(latents))
    return torch.cat([chunk.search(coordinates(tile)) for tile in latents.split(_TILE_LATENTS)])


def _nearest_of_chunks(
    latents: Float[Tensor, "n d"], chunks: Sequence[Tensor], coordinates: Coordinates
) -> Int[Tensor, " n"]:
    """The nearest of the nearest codes of all chunks, by their distances in float64."""
    index = torch.zeros(len(latents), dtype=torch.int64)
    least = torch.full((len(latents),), torch.inf, dtype=torch.float64)
    first = 0
    for codes in map(coordinates, chunks):
        chunk = _Chunk(codes, len(latents))
        for start in range(0, len(latents), _TILE_LATENTS):
            tile = slice(start, start + _TILE_LATENTS)
            rows = coordinates(latents[tile])
            within = chunk.search(rows)
            distance = _squared_distances(rows, codes, within)
            closer = distance < least[tile]  # strict: an earlier code keeps a tie
            torch.where(closer, within + first, index[tile], out=index[tile])
            torch.where(closer, distance, least[tile], out=least[tile])
        first += len(codes)
    return index


class _Chunk:
    """Codes of a chunk and the searches to try; each is prepared when a latent needs it."""

    def __init__(self, codes: Float[Tensor, "v d"], latents: int) -> None:
        self.codes = codes
        self.kinds = _kinds(codes, latents)
        self.prepared: list[Search] = []

    def search(self, latents: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        """Index of the nearest code for each latent."""
        index, certain = self._try(0, latents)
        for turn in range(1, len(self.kinds)):
            if certain.all():
                break
            doubtful = certain.logical_not()
            index[doubtful], certain[doubtful] = self._try(turn, latents[doubtful])
        return index

    def _try(self, turn: int, latents: Tensor) -> tuple[Tensor, Tensor]:
        if turn == len(self.prepared):
            self.prepared.append(self.kinds[turn](self.codes))
        return self.prepared[turn].search(latents)


def _kinds(codes: Float[Tensor, "v d"], latents: int) -> list[Callable[[Tensor], Search]]:
    """The searches to try in turn: the fastest first, the one that is always certain last."""
    large = codes.numel() * latents >= _MIN_PRODUCTS and codes.shape[1] <= _MAX_CHANNELS
    numba = _numba() if large else None
    if numba is None:
        return [TwoPasses]
    if any(when.holds(codes, latents) for when in _TREE):
        return [import_module("quantizers.nearest.tree_numba").Tree, numba.Loops, TwoPasses]
    return [numba.Loops, TwoPasses]


def _squared_distances(
    latents: Float[Tensor, "n d"], codes: Float[Tensor, "v d"], index: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Squared distance in float64 from each latent to its code."""
    rows = max(1, _TILE_COMPARED // codes.shape[1])
    tiles = zip(latents.split(rows), index.split(rows), strict=True)
    return torch.cat([(codes[part].double() - tile).square_().sum(dim=1) for tile, part in tiles])


@cache
def _numba() -> ModuleType | None:
    """The compiled loops, if Numba can be imported."""
    if find_spec("numba") is None:
        return None
    try:
        return import_module("quantizers.nearest.loops")
    except (ImportError, RuntimeError) as error:  # NumPy is too new, or no folder is writable
        warnings.warn(
            f"nearest searches without Numba, so more slowly: {error}; uninstall numba, or set "
            "NUMBA_CACHE_DIR to a folder for its compiled code",
            stacklevel=2,
        )
        return None
