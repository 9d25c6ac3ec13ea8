"""Differences of numbers that belong to a run as a whole, such as the use of a codebook."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr, stdtrit

from bench.statistics.paired import CONFIDENCE, Difference


def seed_difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """First minus second over shared seeds: the t-interval of paired differences, n - 1 degrees.

    It speaks of other seeds on the same test images, not of other images.

    Args:
        first: a number of one method, by seed.
        second: the same of another method, for the same seeds in the same order.

    Raises:
        ValueError: unequal numbers of seeds, or none.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"expected as many seeds of both, got {len(first)} and {len(second)}")
    differences = np.subtract(first, second)
    value, count = float(differences.mean()), len(differences)
    if count < 2:
        return Difference(value=value, low=math.nan, high=math.nan, p=math.nan, seeds=1, images=0)
    error = float(differences.std(ddof=1)) / math.sqrt(count)
    half = error * float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    if error == 0:  # equal differences show that a number is coarse, not that it is certain
        p = 1.0 if value == 0 else math.nan
    else:
        p = 2 * float(stdtr(count - 1, -abs(value) / error))
    return Difference(value=value, low=value - half, high=value + half, p=p, seeds=count, images=0)
