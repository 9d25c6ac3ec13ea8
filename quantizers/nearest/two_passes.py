"""Exact nearest-code search in two passes: matrix products in float32, then distances in float64.

The first pass scores codes (`rounding`) in tiles that fit a core's cache, with codes as rows and a
few latents as columns. It keeps only the best score of each block of codes, because a maximum
without its index is ten times cheaper. The second pass computes float64 distances to the codes of
every block that rounding cannot rule out, nearly always one per latent. Up to 1024 codes are a
block each: a latent with only one possible code needs no second pass. A latent so long that its
square overflows is compared with every code. So no batch, tile or block changes a result.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quantizers.nearest.dot_products import dot_products, matmul_precision
from quantizers.nearest.rounding import ScaledCodes

_MAX_FEW_CODES = 1024
_MAX_BLOCK = 256
_TILE_CODES = 1024  # a multiple of every block
_TILE_SCORES = 1 << 19  # 2 MiB of float32: more would leave the caches of two cores
_MAX_MAXIMA = 1 << 21  # best scores of blocks that are held at a time: 8 MiB
_MAX_COMPARED = 1 << 17  # coordinates that are compared in float64 at a time: 1 MiB


class TwoPasses:
    """Codes that are prepared for both passes."""

    def __init__(self, codes: Float[Tensor, "v d"]) -> None:
        few = len(codes) <= _MAX_FEW_CODES
        self.codes = FewCodes(codes) if few else ManyCodes(codes, block_length(*codes.shape))
        self.latents_at_a_time = min(max(_MAX_MAXIMA // self.codes.blocks, 512), 4096)

    def search(self, latents: Float[Tensor, "n d"]) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
        """Index of the nearest code for each latent; every index is certain."""
        tiles = latents.split(self.latents_at_a_time)
        with matmul_precision(torch.backends.mkldnn.matmul, "ieee"):  # type: ignore[attr-defined]
            index = torch.cat([self.codes.search(tile) for tile in tiles])
        return index, torch.ones_like(index, dtype=torch.bool)


def block_length(codes: int, channels: int) -> int:
    """A power of two near the optimum: a latent costs V / B maxima and B d distances."""
    return min(2 ** round(math.log2(codes / (4 + channels / 4)) / 2), _MAX_BLOCK)


class FewCodes:
    """Codes that are a block each: a latent with only one possible code needs no second pass."""

    def __init__(self, codes: Float[Tensor, "v d"]) -> None:
        self.many = ManyCodes(codes, length=1)
        self.blocks, self.scaled = self.many.blocks, self.many.scaled

    def search(self, latents: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        """Index of the nearest code for each latent."""
        rows = self.scaled.coordinates(latents)
        norm = rows[:, :-1].square().sum(dim=1).sqrt_()
        if not (self.scaled.alike and float(norm.amax()) < 2**20 * self.scaled.radius):
            return self.many.search(latents)
        index, alone = self._only_code(rows, norm)
        if not alone.all():
            several = alone.logical_not_()
            index[several] = self.many.search(latents[several])
        return index

    def _only_code(
        self, rows: Float[Tensor, "n k"], norm: Float[Tensor, " n"]
    ) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
        """First pass, with one bound for all codes: see `ManyCodes.only`."""
        margin = norm.add_(self.scaled.radius).mul_(2 * self.scaled.error * self.scaled.radius)
        sums = torch.empty(len(rows))
        width = _TILE_SCORES // self.blocks
        tiles = rows.split(width), margin.split(width), sums.split(width)
        for tile, tile_margin, tile_sums in zip(*tiles, strict=True):
            scores = dot_products(self.scaled.rows, tile)
            scores.ge_(scores.amax(dim=0).sub_(tile_margin))
            torch.mv(scores.T, self.many.names, out=tile_sums)
        return self.many.only(sums)


class ManyCodes:
    """Codes in blocks of equal length."""

    def __init__(self, codes: Float[Tensor, "v d"], length: int) -> None:
        size, self.channels = codes.shape
        self.length = length
        if missing := -size % length:  # repeats of the last code lose every tie
            codes = torch.cat([codes, codes[-1:].expand(missing, -1)])
        self.blocks = len(codes) // length
        self.exact = codes.reshape(self.blocks, length * self.channels)
        self.scaled = ScaledCodes(codes)
        self.longest = self.scaled.longest(length)
        self.names = torch.arange(self.blocks, 2.0 * self.blocks)

    def search(self, latents: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        """Index of the nearest code for each latent."""
        if self.exact.numel() * len(latents) <= _MAX_COMPARED:
            return self._nearest_of_all(latents)
        possible = self._possible(latents)
        block, alone = self.only(self.names @ possible)
        if alone.all():
            return self._compare(block, latents)[0]
        index = torch.empty(len(latents), dtype=torch.int64)
        index[alone] = self._compare(block[alone], latents[alone])[0]
        several = alone.logical_not_()
        index[several] = self._nearest_of(possible[:, several], latents[several])
        return index

    def only(self, sums: Float[Tensor, " n"]) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
        """The one possible block of each latent, and whether there is only one.

        `sums` are of the names of possible blocks. Names go from the number of blocks to twice that
        number, so two names never add up to a third.
        """
        return sums.sub_(self.blocks).long(), sums < self.blocks

    def _possible(self, latents: Float[Tensor, "n d"]) -> Float[Tensor, "blocks n"]:
        """First pass: 1 for every block that may hold the nearest code, 0 for the others."""
        rows = self.scaled.coordinates(latents)
        best = self._block_maxima(rows)
        norm = rows[:, :-1].square().sum(dim=1).sqrt_()
        bound = (norm + self.longest).mul_(self.longest * self.scaled.error)
        reach = norm + self.scaled.radius
        threshold = best.sub_(bound).amax(dim=0)
        threshold.addcmul_(reach, reach, value=-self.scaled.slack)
        possible = best.add_(bound, alpha=2).ge_(threshold)
        if reach.amax().isinf():
            possible[:, reach.isinf()] = 1
        return possible

    def _block_maxima(self, rows: Float[Tensor, "n k"]) -> Float[Tensor, "blocks n"]:
        """Best score of each block for each latent."""
        if self.length == 1:
            return dot_products(self.scaled.rows, rows)
        best = torch.empty(self.blocks, len(rows))
        width = _TILE_SCORES // min(_TILE_CODES, len(self.scaled.rows))
        block_tiles = best.split(_TILE_CODES // self.length)
        for codes, maxima in zip(self.scaled.rows.split(_TILE_CODES), block_tiles, strict=True):
            for tile, tile_maxima in zip(rows.split(width), maxima.split(width, 1), strict=True):
                scores = dot_products(codes, tile).unflatten(0, (-1, self.length))
                torch.amax(scores, dim=1, out=tile_maxima)
        return best

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
        lowest = index.new_full((len(latents),), self.exact.numel())
        return lowest.scatter_reduce_(0, latent[tied], index[tied], "amin")

    def _compare(
        self,
        block: Int[Tensor, " p"],
        latents: Float[Tensor, "n d"],
        latent: Int[Tensor, " p"] | None = None,
    ) -> tuple[Int[Tensor, " p"], Float[Tensor, " p"]]:
        """The nearest code of a block and its distance, for all latents or those in `latent`."""
        indices, distances = [], []
        latents = latents.double()
        step = max(1, _MAX_COMPARED // (self.length * self.channels))
        rows = torch.arange(len(block)) if latent is None else latent
        for part, row in zip(block.split(step), rows.split(step), strict=True):
            codes = self.exact.index_select(0, part).view(-1, self.length, self.channels).double()
            squares = codes.sub_(latents[row].unsqueeze(1)).square_()
            distance, within = squares.sum(dim=2).min(dim=1)
            indices.append(within.add_(part, alpha=self.length))
            distances.append(distance)
        return torch.cat(indices), torch.cat(distances)
