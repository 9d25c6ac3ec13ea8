"""Statistics of paired results: distances between feature sets, differences, intervals, ties.

Needs only NumPy and SciPy, so tables can be rebuilt from records anywhere.
"""

from bench.statistics.distribution import (
    GROUPS,
    frechet_distance,
    group_of,
    kernel_distance,
    leave_group_out,
    leave_group_out_frechet,
    leave_group_out_kernel,
    leave_group_out_mean,
)
from bench.statistics.paired import Difference, holm, noise_floor, paired_difference

__all__ = [
    "GROUPS",
    "Difference",
    "frechet_distance",
    "group_of",
    "holm",
    "kernel_distance",
    "leave_group_out",
    "leave_group_out_frechet",
    "leave_group_out_kernel",
    "leave_group_out_mean",
    "noise_floor",
    "paired_difference",
]
