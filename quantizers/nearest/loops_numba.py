"""The loops that Numba compiles for `nearest_loops`, whose classes say what they are given.

Scores of four codes for a strip of latents, as many as there are registers for, are summed up at a
time, so that each coordinate that is read serves several of them; and none is ever written down.

All that is compiled together is in one file: Numba's cache on disk sees no change in another.
"""

import math
from typing import no_type_check

import numpy as np
from numba import prange

from quantizers.nearest.lanes_numba import (
    REGISTERS,
    add_product,
    add_squared_difference,
    bits_not_above,
    first_bit,
    larger,
    load,
    smaller,
    smallest,
    splat,
    store,
    where_larger,
    widened,
)
from quantizers.nearest.threads_numba import compiled, compiled_in_any_order, compiled_in_parallel

BLOCK = 8  # codes that are compared in float64 together
STRIP = len(REGISTERS)  # latents that are searched for together
_OF_A_BLOCK = (0,) * BLOCK
_LINE = 16  # numbers of float32 in a line of a cache
_COMPARED = 4  # latents of a share that are compared with all codes
_LOWEST = np.float32(-np.inf)
_LONGEST = np.float32(2**60)  # of a scaled latent: no score overflows


@compiled
@no_type_check
def prepare(exact, shift, rows, half):
    """Scales codes around their centre; the scale, the largest squared length and the mean."""
    size, channels = exact.shape
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
def search_shares(codes, latents, share, index, certain):
    """Searches for latents, so many at a time; fills in indices and what is certain."""
    for first in range(0, len(latents), share):
        _search_share(codes, latents[first : first + share], index[first:], certain[first:])


@compiled_in_parallel
@no_type_check
def search_shares_in_parallel(codes, latents, share, index, certain):
    """The same in several threads."""
    for number in prange((len(latents) + share - 1) // share):
        first = number * share
        _search_share(codes, latents[first : first + share], index[first:], certain[first:])


@compiled
@no_type_check
def _search_share(codes, latents, index, certain):
    channels = latents.shape[1]
    strip = _aligned(channels * STRIP).reshape(channels, STRIP)
    norm, highest = _aligned(STRIP), _aligned(STRIP)
    second, likely = _aligned(STRIP), _aligned(STRIP)
    near, compared, blocks = 1 + 4 * codes.slack, 0, len(codes.half) // BLOCK
    for start in range(0, len(latents), STRIP):
        count = min(STRIP, len(latents) - start)
        _fill(codes, latents[start : start + count], strip, norm)
        _best_blocks(codes.rows, codes.half, strip, highest, second, likely)
        _lower_to_least(
            highest, norm, np.float32(codes.error), np.float32(codes.slack), codes.radius
        )
        for place in range(count):
            first, last = int(likely[place]), int(likely[place]) + 1
            if not second[place] < highest[place]:
                first, last = 0, blocks if compared < _COMPARED else 0
                compared += 1
            index[start + place], certain[start + place] = _nearest_code(
                codes.exact, first, last, latents, start + place, near
            )


@compiled
@no_type_check
def _aligned(size):
    """An array that begins with a line of the cache, so that no vector lies in two of them."""
    room = np.empty(size + _LINE, np.float32)
    first = -(room.ctypes.data // 4) % _LINE
    return room[first : first + size]


@compiled
@no_type_check
def _fill(codes, latents, strip, norm):
    """Scales latents, one in each column, and zeros that fill the strip; and their lengths."""
    strip[:] = 0
    for place in range(len(latents)):
        for channel in range(len(strip)):
            x = codes.shift[channel] + codes.scale * latents[place, channel]
            strip[channel, place] = x
    norm[:] = 0
    for channel in range(len(strip)):
        for place in range(STRIP):
            norm[place] += strip[channel, place] * strip[channel, place]
    for place in range(STRIP):
        norm[place] = math.sqrt(norm[place])
        if not norm[place] < _LONGEST:
            strip[:, place] = 0


@compiled
@no_type_check
def _best_blocks(rows, half, strip, highest, second, likely):
    """For each latent of a strip the highest scores of the best two blocks, and which is best."""
    most = less = splat(REGISTERS, _LOWEST)
    name = splat(REGISTERS, np.float32(0))
    for block in range(len(half) // BLOCK):
        best = splat(REGISTERS, _LOWEST)
        for code in range(BLOCK * block, BLOCK * (block + 1), 4):
            zero, one = splat(REGISTERS, half[code]), splat(REGISTERS, half[code + 1])
            two, three = splat(REGISTERS, half[code + 2]), splat(REGISTERS, half[code + 3])
            for channel in range(len(strip)):
                x = load(REGISTERS, strip, channel)
                zero = add_product(zero, x, rows[code, channel])
                one = add_product(one, x, rows[code + 1, channel])
                two = add_product(two, x, rows[code + 2, channel])
                three = add_product(three, x, rows[code + 3, channel])
            best = larger(best, larger(larger(zero, one), larger(two, three)))
        less = larger(less, smaller(best, most))
        name = where_larger(best, most, np.float32(block), name)
        most = larger(best, most)
    store(most, highest)
    store(less, second)
    store(name, likely)


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


@compiled
@no_type_check
def _nearest_code(exact, first, last, latents, latent, near):
    """The nearest code of some blocks in float64, and if no other order of sums finds another."""
    least, second, nearest, alone = np.inf, np.inf, 0, False
    channels = latents.shape[1]
    for block in range(first, last):
        squares = splat(_OF_A_BLOCK, 0.0)
        for channel in range(channels):
            codes = widened(load(_OF_A_BLOCK, exact, block * channels + channel))
            squares = add_squared_difference(squares, codes, np.float64(latents[latent, channel]))
        distance = smallest(squares)
        second = min(second, max(least, distance))
        if distance < least:
            as_near = bits_not_above(squares, distance * near)
            nearest, alone = BLOCK * block + first_bit(as_near), as_near & (as_near - 1) == 0
            least = distance
    return nearest, alone and second > least * near
