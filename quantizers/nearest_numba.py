"""The exact search as loops that Numba compiles.

A score of few channels is done in less time than it takes to write it down. So the scores of two
codes at a time stay in registers, for a tile of latents that stays in a cache, and only the best
two blocks of codes are kept for each latent. Channels are taken few at a time: as many as there are
registers for. Where these are further apart than rounding
explains (`nearest_codes` has scores and their bounds), distances to the codes of the best block are
computed in float64, for a few other latents those to all codes. All others, and those with two
distances that float64 in another order of summation could not tell apart, are not certain, and the
caller searches for them otherwise: so no index depends on these loops.

"""

import math
from typing import NamedTuple, no_type_check

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from numba import prange
from torch import Tensor

from quantizers.nearest_codes import SHORTEST, distance_slack, score_error
from quantizers.numba_threads import (
    compiled,
    compiled_in_any_order,
    compiled_in_parallel,
    run,
    threads,
)

_NARROW = 16  # channels, for all of which there are registers
_AT_A_TIME = 4  # of more channels
_TILE = 528  # latents; channels must not lie a power of two apart
_LINE = 16  # numbers of float32 in a line of a cache
_SHARE = 64  # latents, or a multiple, for each thread
_COMPARED = 4  # latents of a tile that are compared with all codes
_LONGEST = np.float32(2**60)  # of a scaled latent: no score overflows


class _Codes(NamedTuple):
    """Codes as the loops take them, of k channels: some of those are zero, which changes nothing.

    Attributes:
        scale, shift: of coordinates, which are shift + scale * x.
        error, slack: see `score_error` and `distance_slack`.
        radius: length of the longest scaled code.
        block: number of codes in a block, a multiple of four.
        rows: (b, k), scaled codes, and zeros that fill the last block.
        half: (b,), minus half of their squared lengths, and -infinity.
        exact: (v, k), codes as they were given.
    """

    scale: float
    shift: np.ndarray
    error: float
    slack: float
    radius: np.float32
    block: int
    rows: np.ndarray
    half: np.ndarray
    exact: np.ndarray


class Loops:
    """Codes that are prepared for the compiled loops.

    Attributes:
        alike: whether no code is many times as long as they are on average: the bounds of rounding
            would be too wide to tell any two codes apart.
    """

    def __init__(self, codes: Float[Tensor, "v d"]) -> None:
        size, channels = codes.shape
        block, step = 8 if size <= 4096 else 16, _channels_at_a_time(channels)
        full, width = size + -size % block, channels + -channels % step
        exact, shift = _filled(codes, width).numpy(), np.zeros(width)
        rows, half = np.zeros((full, width), np.float32), np.full(full, -np.inf, np.float32)
        scale, longest, mean = _prepare(exact, channels, shift, rows, half)
        self.alike = longest < 64 * mean
        self.registers = (0,) * step  # a length that is compiled in
        self.codes = _Codes(
            scale=scale,
            shift=shift,
            error=score_error(channels),
            slack=distance_slack(channels),
            radius=np.float32(max(math.sqrt(longest), SHORTEST)),
            block=block,
            rows=rows,
            half=half,
            exact=exact,
        )

    def search(self, latents: Float[Tensor, "n d"]) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
        """Index of the nearest code for each latent, and whether it is certain."""
        index = torch.empty(len(latents), dtype=torch.int64)
        certain = torch.empty(len(latents), dtype=torch.bool)
        width = min(_TILE, _SHARE * math.ceil(len(latents) / threads() / _SHARE))
        rows = _filled(latents, self.codes.rows.shape[1]).numpy()
        problem = self.registers, self.codes, rows, width, index.numpy(), certain.numpy()
        run(_search_tiles, _search_tiles_in_parallel, problem)
        return index, certain


def _channels_at_a_time(channels: int) -> int:
    if channels > _NARROW:
        return _AT_A_TIME
    return max(2, 1 << (channels - 1).bit_length())


def _filled(latents: Float[Tensor, "n d"], channels: int) -> Float[Tensor, "n k"]:
    """Contiguous rows with zeros after their channels."""
    if latents.shape[1] == channels:
        return latents.contiguous()
    return F.pad(latents, (0, channels - latents.shape[1]))


@compiled
@no_type_check
def _prepare(exact, channels, shift, rows, half):
    """Scales codes around their centre; the scale, the largest squared length and the mean."""
    size = len(exact)
    low, high, longest, total = np.inf, -np.inf, 0.0, 0.0
    for code in range(size):
        for channel in range(channels):
            x = np.float64(exact[code, channel])
            low, high = min(low, x), max(high, x)
            shift[channel] -= x / size
    scale = 2.0 ** -math.frexp(high / 2 - low / 2)[1] if low < high else 1.0
    for channel in range(channels):
        shift[channel] *= scale
    for code in range(size):
        square = 0.0
        for channel in range(channels):
            x = np.float32(shift[channel] + scale * exact[code, channel])
            rows[code, channel] = x
            square += np.float64(x) * np.float64(x)
        half[code] = -square / 2
        longest, total = max(longest, square), total + square
    return scale, longest, total / size


@compiled
@no_type_check
def _search_tiles(registers, codes, latents, width, index, certain):
    for first in range(0, len(latents), width):
        _search_tile(registers, codes, latents, first, width, index, certain)


@compiled_in_parallel
@no_type_check
def _search_tiles_in_parallel(registers, codes, latents, width, index, certain):
    for number in prange((len(latents) + width - 1) // width):
        _search_tile(registers, codes, latents, number * width, width, index, certain)


@compiled
@no_type_check
def _aligned(size):
    """An array that begins with a line of the cache, so that no vector lies in two of them."""
    room = np.empty(size + _LINE, np.float32)
    first = -(room.ctypes.data // 4) % _LINE
    return room[first : first + size]


@compiled
@no_type_check
def _search_tile(registers, codes, latents, first, width, index, certain):
    """Searches for some latents, from the first on."""
    count = min(width, len(latents) - first)
    channels = latents.shape[1]
    tile = _aligned(channels * width).reshape(channels, width)
    norm = np.zeros(width, np.float32)
    tile[:] = 0
    for place in range(count):
        square = np.float32(0)
        for channel in range(channels):
            x = np.float32(codes.shift[channel] + codes.scale * latents[first + place, channel])
            tile[channel, place] = x
            square += x * x
        norm[place] = math.sqrt(square)
        if not norm[place] < _LONGEST:
            tile[:, place] = 0
    least, second, likely = _best_blocks(registers, codes, tile)
    error, slack = np.float32(codes.error), np.float32(codes.slack)
    _lower_to_least(least, norm, error, slack, codes.radius)
    compared, near = 0, 1 + 4 * codes.slack
    for place in range(count):
        begin, end = int(likely[place]), int(likely[place]) + codes.block
        if not second[place] < least[place]:
            begin, end = 0, len(codes.exact) if compared < _COMPARED else 0
            compared += 1
        index[first + place], certain[first + place] = _nearest_code(
            registers, codes.exact, begin, min(end, len(codes.exact)), latents, first + place, near
        )


@compiled
@no_type_check
def _best_blocks(registers, codes, tile):
    """For each latent of a tile the highest scores of the best two blocks, and which is best."""
    width = tile.shape[1]
    highest, second = _aligned(width), _aligned(width)
    likely = _aligned(width)  # an integer, as wide as the others
    highest[:] = second[:] = -np.inf
    likely[:] = 0
    score = _aligned(width)
    sums = _aligned(width), _aligned(width), _aligned(width), _aligned(width)
    for block in range(0, len(codes.half), codes.block):
        score[:] = -np.inf
        if len(tile) == len(registers):
            _score_narrow(registers, codes, block, tile, score)
        else:
            _score_wide(registers, codes, block, tile, score, *sums)
        _keep_two_highest(np.float32(block), score, highest, second, likely)
    return highest, second, likely


@compiled_in_any_order
@no_type_check
def _score_narrow(registers, codes, first, tile, highest):
    """The highest score of a block's codes for each latent of a tile."""
    rows, half = codes.rows, codes.half
    for code in range(first, first + codes.block, 2):
        for place in range(len(highest)):
            one, two = half[code], half[code + 1]
            for channel in range(len(registers)):
                x = tile[channel, place]
                one += rows[code, channel] * x
                two += rows[code + 1, channel] * x
            highest[place] = max(highest[place], max(one, two))


@compiled_in_any_order
@no_type_check
def _score_wide(registers, codes, first, tile, highest, s0, s1, s2, s3):
    """The same for more channels than there are registers: sums are kept in between."""
    rows, half = codes.rows, codes.half
    for code in range(first, first + codes.block, 4):
        for place in range(len(highest)):
            s0[place], s1[place] = half[code], half[code + 1]
            s2[place], s3[place] = half[code + 2], half[code + 3]
        for base in range(0, len(tile), len(registers)):
            for place in range(len(highest)):
                zero, one, two, three = s0[place], s1[place], s2[place], s3[place]
                for channel in range(base, base + len(registers)):
                    x = tile[channel, place]
                    zero += rows[code, channel] * x
                    one += rows[code + 1, channel] * x
                    two += rows[code + 2, channel] * x
                    three += rows[code + 3, channel] * x
                s0[place], s1[place], s2[place], s3[place] = zero, one, two, three
        for place in range(len(highest)):
            best = max(max(s0[place], s1[place]), max(s2[place], s3[place]))
            highest[place] = max(highest[place], best)


@compiled_in_any_order
@no_type_check
def _keep_two_highest(block, score, highest, second, likely):
    """Takes a block's scores into the two highest of each latent."""
    for place in range(len(score)):
        new, old, name = score[place], highest[place], likely[place]
        second[place] = max(second[place], min(new, old))
        likely[place] = block if new > old else name
        highest[place] = max(new, old)


@compiled_in_any_order
@no_type_check
def _lower_to_least(highest, norm, error, slack, radius):
    """Makes of the highest score of each latent the least that its nearest code's is computed as.

    The squared distance of the code with the highest score is |X|^2 less twice its true score. No
    code that is nearer, nor itself, is longer than |X| and that distance: the bound of rounding for
    the longest code gives one for it, and that a sharper bound. `wide` is for their own rounding.
    """
    wide = np.float32(1.001)
    for place in range(len(highest)):
        reach = norm[place] + radius
        square = max(norm[place] * norm[place] - 2 * highest[place], np.float32(0)) * wide
        distance = np.sqrt(square + 2 * error * radius * reach)
        length = min(radius, (norm[place] + distance) * wide)
        highest[place] -= 2 * error * length * (norm[place] + length) + slack * reach * reach


@compiled_in_any_order
@no_type_check
def _nearest_code(registers, exact, first, last, latents, latent, near):
    """The nearest of some codes in float64, and whether no other order of sums finds another."""
    least, second, nearest = np.inf, np.inf, 0
    for code in range(first, last):
        distance = 0.0
        for channel in range(exact.shape[1]):
            difference = np.float64(exact[code, channel]) - np.float64(latents[latent, channel])
            distance += difference * difference
        second = min(second, max(least, distance))
        nearest = code if distance < least else nearest
        least = min(least, distance)
    return nearest, second > least * near
