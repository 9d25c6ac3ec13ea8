"""The loops that Numba compiles for `nearest_loops`, whose classes say what they are given.

A score of few channels is done in less time than it takes to write it down. So the scores of a few
codes at a time stay in registers, for a tile of latents that stays in a cache. Where there are more
channels than registers for them, four are taken at a time, and sums are kept in between.

All that is compiled together is in one file: Numba's cache on disk sees no change in another.
"""

import math
from typing import no_type_check

import numpy as np
from numba import prange

from quantizers.numba_threads import compiled, compiled_in_any_order, compiled_in_parallel

TILE = 528  # latents; channels must not lie a power of two apart
_NARROW = 16  # channels, for all of which there are registers
_AT_A_TIME = 4  # of more channels
_LINE = 16  # numbers of float32 in a line of a cache
_COMPARED = 4  # latents of a tile that are compared with all codes
_LONGEST = np.float32(2**60)  # of a scaled latent: no score overflows


def channels_at_a_time(channels: int) -> int:
    """How many channels the loops take at a time; they are filled up to a multiple of it."""
    if channels > _NARROW:
        return _AT_A_TIME
    return max(2, 1 << (channels - 1).bit_length())


@compiled
@no_type_check
def prepare(exact, channels, shift, rows, half):
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
def search_tiles(registers, codes, latents, width, index, certain):
    """Searches for latents, a tile of so many at a time; fills in indices and what is certain."""
    for first in range(0, len(latents), width):
        _search_tile(registers, codes, latents, first, width, index, certain)


@compiled_in_parallel
@no_type_check
def search_tiles_in_parallel(registers, codes, latents, width, index, certain):
    """The same in several threads."""
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
