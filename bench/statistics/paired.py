"""Differences between two methods that share seeds and test images.

Every metric is treated alike, whether it is a mean over images or a distance between distributions.
For each seed s, the difference of the two methods is known on all images, D_s, and without group g
of the images, D_s(-g). Their jackknife pseudo-values (Busing, Meijer and van der Leeden 1999,
https://doi.org/10.1023/A:1008800423698, for groups of unequal size)

    P_sg = h_g D_s - (h_g - 1) D_s(-g),    h_g = images / images of group g

are the group means if the metric is a mean; otherwise they correct the bias of order 1 / images.
Seeds and groups are crossed random effects, so the variance of the mean of S x G pseudo-values is
estimated by (MS_seeds + MS_groups - MS_residual) / (S G), but by at least each of the first two
terms, with Satterthwaite's degrees of freedom. The interval therefore holds for other seeds and for
other images like these. A t-interval over the S seeds only, which takes the test images as fixed,
covers the truth in 84 % (three seeds) and 68 % (five) of simulated cases where the images
contribute as much variance as one seed, instead of 95 %; see `tests/bench/statistics`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from bench.statistics.distribution import group_of

CONFIDENCE = 0.95

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """First method minus second, in the unit of the metric.

    Attributes:
        value: the estimate, corrected for the bias of small test sets.
        low: lower end of the 95 % interval; NaN for a single seed.
        high: upper end.
        p: two-sided p-value of no difference; NaN for a single seed.
        seeds: seeds that both methods have.
        images: test images.
    """

    value: float
    low: float
    high: float
    p: float
    seeds: int
    images: int


def paired_difference(whole: Array, left_out: Array, *, images: int) -> Difference:
    """Estimate, interval and p-value from the differences of two methods.

    Args:
        whole: (seeds,) differences on all images.
        left_out: (seeds, groups) differences without each group of images.
        images: how many images there are; this sets the sizes of the groups.

    Raises:
        ValueError: the shapes do not fit together.
    """
    sizes = np.bincount(group_of(images))
    if whole.ndim != 1 or left_out.shape != (len(whole), len(sizes)):
        raise ValueError(
            f"{images} images have {len(sizes)} groups: expected differences of shapes (s,) and "
            f"(s, {len(sizes)}), got {whole.shape} and {left_out.shape}"
        )
    parts = images / sizes
    pseudo = parts * whole[:, None] - (parts - 1) * left_out
    value = float((pseudo / parts).sum(axis=1).mean())
    error, freedom = _standard_error(pseudo)
    half = error * float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
    return Difference(
        value=value,
        low=value - half,
        high=value + half,
        p=_p_value(value, error, freedom),
        seeds=len(whole),
        images=images,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (1979), in the order given; a NaN stays and counts as a test."""
    order = sorted(range(len(p_values)), key=lambda index: (math.isnan(p_values[index]), index))
    order.sort(key=lambda index: math.inf if math.isnan(p_values[index]) else p_values[index])
    adjusted = [math.nan] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        if not math.isnan(p_values[index]):
            largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
            adjusted[index] = largest
    return adjusted


def noise_floor(values: Sequence[float], *, seeds: int = 1) -> float:
    """How far apart two results of one method lie when only the seed differs.

    This is the 95 % range of the difference between two means over `seeds` fresh seeds each, if
    results are normally distributed over seeds: t(n - 1) s sqrt(2 / seeds).

    Args:
        values: a metric of one method over n >= 2 seeds.
        seeds: number of seeds in each of the two means.

    Raises:
        ValueError: fewer than two values.
    """
    if len(values) < 2:
        raise ValueError(f"a noise floor needs at least 2 seeds of one method, got {len(values)}")
    quantile = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2))
    return quantile * float(np.std(values, ddof=1)) * math.sqrt(2 / seeds)


def _standard_error(pseudo: Array) -> tuple[float, float]:
    """Standard error and degrees of freedom of the mean of pseudo-values (seeds, groups)."""
    seeds, groups = pseudo.shape
    if seeds < 2:
        return math.nan, math.nan
    by_seed, by_group = pseudo.mean(axis=1), pseudo.mean(axis=0)
    residual = pseudo - by_seed[:, None] - by_group + pseudo.mean()
    mean_squares = np.array(
        [
            groups * by_seed.var(ddof=1),
            seeds * by_group.var(ddof=1),
            np.square(residual).sum() / ((seeds - 1) * (groups - 1)),
        ]
    )
    freedoms = np.array([seeds - 1, groups - 1, (seeds - 1) * (groups - 1)])
    signs = np.array([1, 1, -1])
    total = max(float(signs @ mean_squares), float(mean_squares[:2].max()))
    if total == 0:
        return 0.0, 1.0
    freedom = total**2 / float((np.square(mean_squares) / freedoms).sum())
    return math.sqrt(total / pseudo.size), max(freedom, float(min(freedoms)))


def _p_value(value: float, error: float, freedom: float) -> float:
    if error == 0:
        return 1.0 if value == 0 else 0.0
    return 2 * float(stdtr(freedom, -abs(value) / error))
