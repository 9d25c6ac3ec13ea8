"""The compiled loops of `loops`, whose classes describe the arguments.

The loops score four codes for a strip of latents at a time, one latent per lane. Each coordinate
that is read enters several sums, and scores never leave the registers.

Compiled functions that call each other are in one file: Numba's cache sees no change in another.
"""

import math
from typing import no_type_check

import numpy as np
from numba import prange

from quantizers.nearest import lanes_numba as lanes
from quantizers.nearest.threads_numba import compiled, compiled_in_any_order, compiled_in_parallel

BLOCK = 8  # codes that are compared in float64 together
STRIP = lanes.LANES  # latents that are scored together
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
def search_serial(codes, latents, share, index, certain):
    """Searches for `share` latents at a time; fills in `index` and `certain`."""
    for first in range(0, len(latents), share):
        _search_share(codes, latents[first : first + share], index[first:], certain[first:])


@compiled_in_parallel
@no_type_check
def search_parallel(codes, latents, share, index, certain):
    """Like `search_serial`, in several threads."""
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
    most = less = lanes.splat(STRIP, _LOWEST)
    name = lanes.splat(STRIP, np.float32(0))
    for block in range(len(half) // BLOCK):
        best = lanes.splat(STRIP, _LOWEST)
        for code in range(BLOCK * block, BLOCK * (block + 1), 4):
            zero, one = lanes.splat(STRIP, half[code]), lanes.splat(STRIP, half[code + 1])
            two, three = lanes.splat(STRIP, half[code + 2]), lanes.splat(STRIP, half[code + 3])
            for channel in range(len(strip)):
                x = lanes.load(STRIP, strip, channel)
                zero = lanes.add_product(zero, x, rows[code, channel])
                one = lanes.add_product(one, x, rows[code + 1, channel])
                two = lanes.add_product(two, x, rows[code + 2, channel])
                three = lanes.add_product(three, x, rows[code + 3, channel])
            best = lanes.larger(best, lanes.larger(zero, one))
            best = lanes.larger(best, lanes.larger(two, three))
        less = lanes.larger(less, lanes.smaller(best, most))
        name = lanes.where_larger(best, most, np.float32(block), name)
        most = lanes.larger(best, most)
    lanes.store(most, highest)
    lanes.store(less, second)
    lanes.store(name, best_block)


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
        squares = lanes.splat(BLOCK, 0.0)
        for channel in range(channels):
            codes = lanes.widened(lanes.load(BLOCK, exact, block * channels + channel))
            squares = lanes.add_squared_difference(
                squares, codes, np.float64(latents[latent, channel])
            )
        distance = lanes.smallest(squares)
        second = min(second, max(least, distance))
        if distance < least:
            as_near = lanes.bits_not_above(squares, distance * near)
            nearest, alone = BLOCK * block + lanes.first_bit(as_near), as_near & (as_near - 1) == 0
            least = distance
    return nearest, alone and second > least * near
