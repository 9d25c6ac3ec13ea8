"""The compiled loops of `loops`, whose classes describe the arguments.

The loops score four codes for a strip of latents at a time, one latent per lane. Each coordinate
that is read enters several sums, and scores never leave the registers.

Compiled functions that call each other are in one file: Numba's cache on disk does not see changes
in another file.
"""

import math
from typing import no_type_check

import numpy as np
from numba import prange

from quantizers.nearest.lanes_numba import (
    LANES,
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
STRIP = LANES  # latents that are scored together
FULL_SEARCHES = 4  # per share: latents that are compared with all codes
GIVE_UP = 0, 0  # compare no block: the latent is left uncertain
_CACHE_LINE = 16  # float32 numbers
_LOWEST = np.float32(-np.inf)
_MAX_LENGTH = np.float32(2**60)  # of a scaled latent, so that no score overflows


@compiled
@no_type_check
def scale_codes(exact, shift, rows, half):
    """Fills `shift`, `rows` and `half`; returns the scale and the largest and mean squared length.

    `ScaledCodes` does the same with a dozen calls of torch, which cost more for few codes.
    """
    size, channels = exact.shape
    low, high, largest, total = np.inf, -np.inf, 0.0, 0.0
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
        largest, total = max(largest, square), total + square
    return scale, largest, total / size


@compiled
@no_type_check
def search_shares(codes, latents, share, index, certain):
    """Searches for `share` latents at a time; fills in `index` and `certain`."""
    for first in range(0, len(latents), share):
        _search_share(codes, latents[first : first + share], index[first:], certain[first:])


@compiled_in_parallel
@no_type_check
def search_shares_in_parallel(codes, latents, share, index, certain):
    """Like `search_shares`, in several threads."""
    for number in prange((len(latents) + share - 1) // share):
        first = number * share
        _search_share(codes, latents[first : first + share], index[first:], certain[first:])


@compiled
@no_type_check
def _search_share(codes, latents, index, certain):
    channels = latents.shape[1]
    strip = _aligned(channels * STRIP).reshape(channels, STRIP)
    norm, highest = _aligned(STRIP), _aligned(STRIP)
    second, best_block = _aligned(STRIP), _aligned(STRIP)
    near = 1 + 4 * codes.slack
    blocks, full_searches_left = len(codes.half) // BLOCK, FULL_SEARCHES
    for start in range(0, len(latents), STRIP):
        count = min(STRIP, len(latents) - start)
        _fill(codes, latents[start : start + count], strip, norm)
        _best_blocks(codes.rows, codes.half, strip, highest, second, best_block)
        _lower_to_least(highest, norm, codes.error, np.float32(codes.slack), codes.radius)
        for lane in range(count):
            first, last = int(best_block[lane]), int(best_block[lane]) + 1
            if not second[lane] < highest[lane]:
                first, last = (0, blocks) if full_searches_left > 0 else GIVE_UP
                full_searches_left -= 1
            index[start + lane], certain[start + lane] = _nearest_code(
                codes.exact, first, last, latents, start + lane, near
            )


@compiled
@no_type_check
def _aligned(size):
    """An array that starts on a cache line, so that no vector straddles two of them."""
    room = np.empty(size + _CACHE_LINE, np.float32)
    first = -(room.ctypes.data // 4) % _CACHE_LINE
    return room[first : first + size]


@compiled
@no_type_check
def _fill(codes, latents, strip, norm):
    """Writes scaled latents to the columns of `strip`, zeros to the rest, and lengths to `norm`."""
    strip[:] = 0
    for lane in range(len(latents)):
        for channel in range(len(strip)):
            x = codes.shift[channel] + codes.scale * latents[lane, channel]
            strip[channel, lane] = x
    norm[:] = 0
    for channel in range(len(strip)):
        for lane in range(STRIP):
            norm[lane] += strip[channel, lane] * strip[channel, lane]
    for lane in range(STRIP):
        norm[lane] = math.sqrt(norm[lane])
        if not norm[lane] < _MAX_LENGTH:
            strip[:, lane] = 0


@compiled
@no_type_check
def _best_blocks(rows, half, strip, highest, second, best_block):
    """For each latent of a strip: the highest scores of the best two blocks, and the best block."""
    most = less = splat(LANES, _LOWEST)
    name = splat(LANES, np.float32(0))
    for block in range(len(half) // BLOCK):
        best = splat(LANES, _LOWEST)
        for code in range(BLOCK * block, BLOCK * (block + 1), 4):
            zero, one = splat(LANES, half[code]), splat(LANES, half[code + 1])
            two, three = splat(LANES, half[code + 2]), splat(LANES, half[code + 3])
            for channel in range(len(strip)):
                x = load(LANES, strip, channel)
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
    store(name, best_block)


@compiled_in_any_order
@no_type_check
def _lower_to_least(highest, norm, error, slack, radius):
    """Lowers each latent's highest score to the least value that its nearest code can score.

    The squared distance to the code with the highest score is |X|^2 minus twice its true score.
    That code, and every nearer one, is at most |X| plus that distance long. The error bound with
    the longest code gives an upper limit for the distance; that gives a sharper bound. `wide`
    covers the rounding of these bounds.
    """
    wide = np.float32(1.001)
    for lane in range(len(highest)):
        reach = norm[lane] + radius
        square = max(norm[lane] * norm[lane] - 2 * highest[lane], np.float32(0)) * wide
        distance = np.sqrt(square + 2 * error * radius * reach)
        length = min(radius, (norm[lane] + distance) * wide)
        highest[lane] -= 2 * error * length * (norm[lane] + length) + slack * reach * reach


@compiled
@no_type_check
def _nearest_code(exact, first, last, latents, latent, near):
    """The nearest code of some blocks in float64, and whether every order of summation finds it."""
    least, second, nearest, alone = np.inf, np.inf, 0, False
    channels = latents.shape[1]
    for block in range(first, last):
        squares = splat(BLOCK, 0.0)
        for channel in range(channels):
            codes = widened(load(BLOCK, exact, block * channels + channel))
            squares = add_squared_difference(squares, codes, np.float64(latents[latent, channel]))
        distance = smallest(squares)
        second = min(second, max(least, distance))
        if distance < least:
            as_near = bits_not_above(squares, distance * near)
            nearest, alone = BLOCK * block + first_bit(as_near), as_near & (as_near - 1) == 0
            least = distance
    return nearest, alone and second > least * near
