"""Vectors in registers do what NumPy does with arrays."""

import numpy as np
import pytest

numba = pytest.importorskip("numba")

from numba.core.errors import TypingError  # noqa: E402

from quantizers.nearest import lanes_numba as lanes  # noqa: E402

_FOUR, _EIGHT = 4, 8


@numba.njit
def _operations(x, y, number, found):
    """Each row of what is found is an operation on the first rows of x and y."""
    one, two = lanes.load(_EIGHT, x, 0), lanes.load(_EIGHT, y, 0)
    lanes.store(lanes.splat(_EIGHT, number), found[0])
    lanes.store(lanes.load(_EIGHT, x, 1), found[1])
    lanes.store(lanes.add_product(one, two, number), found[2])
    lanes.store(lanes.add_squared_difference(one, two, number), found[3])
    lanes.store(lanes.larger(one, two), found[4])
    lanes.store(lanes.smaller(one, two), found[5])
    lanes.store(lanes.where_larger(one, two, number, two), found[6])
    found[7, 0] = lanes.smallest(one)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_every_operation_is_that_of_numpy(kind):
    x, y = np.random.default_rng(0).integers(-9, 9, (2, 2, 8)).astype(kind)
    number, found = kind(3), np.zeros((8, 8), kind)
    _operations(x, y, number, found)
    expected = [
        *(np.full(8, number), x[1], x[0] + y[0] * number, x[0] + (y[0] - number) ** 2),
        *(np.maximum(x[0], y[0]), np.minimum(x[0], y[0]), np.where(x[0] > y[0], number, y[0])),
    ]
    assert (found[:7] == expected).all()
    for place in range(8):  # the smallest is found in every lane
        x[0] = 5
        x[0, place] = -1
        _operations(x, y, number, found)
        assert found[7, 0] == -1


@numba.njit
def _bits(x, limit):
    bits = lanes.bits_not_above(lanes.load(_FOUR, x, 0), limit)
    return bits, lanes.first_bit(bits)


def test_bits_are_of_the_numbers_not_above_a_limit():
    x = np.array([[3.0, 1.0, np.inf, 2.0]])
    assert _bits(x, 2.0) == (0b1010, 1)
    assert _bits(x, 3.0) == (0b1011, 0)
    assert _bits(x, 0.0) == (0, 64)


@numba.njit
def _widened(x, found):
    lanes.store(lanes.widened(lanes.load(_FOUR, x, 0)), found)


def test_widened_numbers_are_the_same():
    x, found = np.array([[0.1, -1e38, 1e-40, np.inf]], np.float32), np.zeros(4)
    _widened(x, found)
    assert (found == x[0]).all()


def test_rows_must_be_contiguous():
    x = np.zeros((4, 8), np.float32)
    with pytest.raises(TypingError, match=r"contiguous rows, got array\(float32, 2d, F\)"):
        _widened(x.T, np.zeros(4))
