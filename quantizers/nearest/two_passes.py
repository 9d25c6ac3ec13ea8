"""Exact nearest-code search in two passes: matrix products in float32, then distances in float64.

The first pass scores codes (`nearest_codes`) in tiles that stay in the cache of a core: codes as
rows, few latents as columns. Of each block of codes only the best score is kept, since a maximum
alone is ten times cheaper than a maximum with its index. The second pass computes the distance
itself, in float64, to the codes of every block that rounding cannot rule out, nearly always one for
each latent. Of few codes each is a block of its own; where all but one are ruled out, there is no
second pass. A latent so long that its square overflows is compared with every code. So the result
depends neither on the batch nor on tiles or blocks.

Where Numba is installed, compiled code does both passes (`nearest_chunks`), and leaves the latents
here for which it cannot prove which code is the nearest.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quantizers.nearest.dot_products import dot_products, products_in
from quantizers.nearest.rounding import ScaledCodes

_LONGEST_BLOCK = 256
_TILE_CODES = 1024  # a multiple of every block; so few codes are a block each
_TILE_SCORES = 1 << 19  # 2 MiB of float32: more would leave the caches of two cores
_MAXIMA = 1 << 21  # best scores of blocks that are held at a time: 8 MiB
_COMPARED = 1 << 17  # coordinates that are compared in float64 at a time: 1 MiB


def block_length(codes: int, channels: int) -> int:
    """A power of two near the best: the passes take V / B maxima and B d distances for a latent."""
    if codes <= _TILE_CODES:
        return 1
    length = 2 ** round(math.log2(codes / (4 + channels / 4)) / 2)
    return min(length, _LONGEST_BLOCK)


class Blocks:
    """Codes that are prepared for both passes, in blocks of equal length."""

    def __init__(self, codes: Float[Tensor, "v d"]) -> None:
        self.size, self.channels = codes.shape
        self.length = block_length(self.size, self.channels)
        if missing := -self.size % self.length:  # repeats of the last code lose every tie
            codes = torch.cat([codes, codes[-1:].expand(missing, -1)])
        self.count = len(codes) // self.length
        self.exact = codes.reshape(self.count, self.length * self.channels)
        self.scaled = scaled = ScaledCodes(codes)
        self.rows = scaled.rows
        self.longest = scaled.longest(self.length)
        self.names = torch.arange(self.count, 2.0 * self.count)

    def search(self, latents: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        """Index of the nearest code for the coordinates of latents."""
        at_a_time = min(max(_MAXIMA // self.count, 512), 4096)
        with products_in(torch.backends.mkldnn.matmul, "ieee"):  # type: ignore[attr-defined]
            return torch.cat([self._search(some) for some in latents.split(at_a_time)])

    def _search(self, latents: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        if self.length == 1:
            block, alone = self._only_code(latents)
        else:
            possible = self._possible(latents)
            block, alone = self._only(self.names @ possible)
        if alone.all():
            return self._nearest_in(block, latents).clamp_max_(self.size - 1)
        indices = torch.empty(len(latents), dtype=torch.int64)
        indices[alone] = self._nearest_in(block[alone], latents[alone])
        several = alone.logical_not_()
        latents = latents[several]
        if self.exact.numel() * len(latents) <= _COMPARED:
            indices[several] = self._nearest_of_all(latents)
        else:
            possible = self._possible(latents) if self.length == 1 else possible[:, several]
            indices[several] = self._nearest_of(possible, latents)
        return indices.clamp_max_(self.size - 1)

    def _only_code(
        self, latents: Float[Tensor, "n d"]
    ) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
        """First pass over few codes of similar length: the one possible code, and if it is one."""
        rows, norm = self._rows_of(latents)
        if not (self.scaled.alike and float(norm.amax()) < 2**20 * self.scaled.radius):
            nothing = torch.zeros(len(norm), dtype=torch.int64)
            return nothing, nothing.bool()
        margin = norm.add_(self.scaled.radius).mul_(2 * self.scaled.error * self.scaled.radius)
        found = torch.empty(len(latents))
        width = _TILE_SCORES // self.count
        tiles = rows.split(width), margin.split(width), found.split(width)
        for tile, below, into in zip(*tiles, strict=True):
            scores = dot_products(self.rows, tile)
            scores.ge_(scores.amax(dim=0).sub_(below))
            torch.mv(scores.T, self.names, out=into)
        return self._only(found)

    def _only(self, sums: Float[Tensor, " n"]) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
        """The block whose name is the sum of the names of possible blocks, and if it is one.

        Names go from the number of blocks to twice that, so that no two add up to a third.
        """
        return sums.sub_(self.count).long(), sums < self.count

    def _rows_of(
        self, latents: Float[Tensor, "n d"]
    ) -> tuple[Float[Tensor, "n k"], Float[Tensor, " n"]]:
        """Scaled coordinates and a 1, for the first pass, and their norms."""
        rows = self.scaled.coordinates(latents)
        return rows, rows[:, :-1].square().sum(dim=1).sqrt_()

    def _possible(self, latents: Float[Tensor, "n d"]) -> Float[Tensor, "blocks n"]:
        """First pass: 1 for every block that may hold the nearest code, 0 for the others."""
        rows, norm = self._rows_of(latents)
        best = self._block_maxima(rows)
        bound = (norm + self.longest).mul_(self.longest * self.scaled.error)
        reach = norm + self.scaled.radius
        threshold = best.sub_(bound).amax(dim=0)
        threshold.addcmul_(reach, reach, value=-self.scaled.slack)
        possible = best.add_(bound, alpha=2).ge_(threshold)
        if reach.amax().isinf():
            possible[:, reach.isinf()] = 1
        return possible

    def _block_maxima(self, latents: Float[Tensor, "n k"]) -> Float[Tensor, "blocks n"]:
        """Best score of each block for each latent, a row of coordinates and a 1."""
        if self.length == 1:
            return dot_products(self.rows, latents)
        best = torch.empty(self.count, len(latents))
        width = _TILE_SCORES // min(_TILE_CODES, len(self.rows))
        for first, codes in enumerate(self.rows.split(_TILE_CODES)):
            place = first * (_TILE_CODES // self.length)
            into = best[place : place + len(codes) // self.length]
            for tile, maxima in zip(latents.split(width), into.split(width, 1), strict=True):
                scores = dot_products(codes, tile).unflatten(0, (-1, self.length))
                torch.amax(scores, dim=1, out=maxima)
        return best

    def _nearest_in(
        self, block: Int[Tensor, " n"], latents: Float[Tensor, "n d"]
    ) -> Int[Tensor, " n"]:
        """Second pass over one block for each latent."""
        return block if self.length == 1 else self._compare(block, latents)[0]

    def _nearest_of_all(self, latents: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        """Second pass over all codes."""
        codes = self.exact.view(1, -1, self.channels).double()
        return (codes - latents.unsqueeze(1)).square_().sum(dim=2).argmin(dim=1)

    def _nearest_of(
        self, possible: Float[Tensor, "blocks n"], latents: Float[Tensor, "n d"]
    ) -> Int[Tensor, " n"]:
        """Second pass over any number of blocks for each latent."""
        block, latent = possible.nonzero().unbind(1)
        index, distance = self._compare(block, latents, latent)
        least = distance.new_full((len(latents),), torch.inf)
        least.scatter_reduce_(0, latent, distance, "amin")
        tied = distance == least[latent]
        lowest = index.new_full((len(latents),), self.size)
        return lowest.scatter_reduce_(0, latent[tied], index[tied], "amin")

    def _compare(
        self,
        block: Int[Tensor, " p"],
        latents: Float[Tensor, "n d"],
        latent: Int[Tensor, " p"] | None = None,
    ) -> tuple[Int[Tensor, " p"], Float[Tensor, " p"]]:
        """The nearest code of a block, and its distance, for each latent or each of `latent`."""
        indices, distances = [], []
        latents = latents.double()
        step = max(1, _COMPARED // (self.length * self.channels))
        rows = torch.arange(len(block)) if latent is None else latent
        for some, row in zip(block.split(step), rows.split(step), strict=True):
            codes = self.exact.index_select(0, some).view(-1, self.length, self.channels).double()
            squares = codes.sub_(latents[row].unsqueeze(1)).square_()
            distance, within = squares.sum(dim=2).min(dim=1)
            indices.append(within.add_(some, alpha=self.length))
            distances.append(distance)
        return torch.cat(indices), torch.cat(distances)
