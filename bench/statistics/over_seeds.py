"""Differences of numbers that describe a whole run, such as the usage of a codebook."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr, stdtrit

from bench.statistics.paired import CONFIDENCE, Difference


def seed_difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """First minus second over shared seeds: the t-interval of n paired differences, n - 1 degrees.

    The interval holds for other seeds on the same test images, not for other images.

    Args:
        first: one number per seed, of one method.
        second: the numbers of another method, for the same seeds in the same order.

    Raises:
        ValueError: unequal numbers of seeds, or none.
    """
    if len(first) != len(second) or not first:
        raise ValueError(
            f"expected the same number of seeds, at least one, got {len(first)} and {len(second)}"
        )
    differences = np.subtract(first, second)
    value, count = float(differences.mean()), len(differences)
    if count < 2:
        return Difference(value=value, low=math.nan, high=math.nan, p=math.nan, seeds=1, images=0)
    error = float(differences.std(ddof=1)) / math.sqrt(count)
    half = error * float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    if error > 0:
        p = 2 * float(stdtr(count - 1, -abs(value) / error))
    else:  # equal differences mean that the number is coarse, not that it is certain
        p = 1.0 if value == 0 else math.nan
    return Difference(value=value, low=value - half, high=value + half, p=p, seeds=count, images=0)
