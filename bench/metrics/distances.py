"""Distances between two sets of features, with their values without each group of images.

A set metric takes the features of the originals and of the reconstructions, row i of both from
image i. It returns a number, or a `Jackknifed` number, from which tables get an interval.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from bench.statistics import (
    frechet_distance,
    group_of,
    kernel_distance,
    leave_group_out_frechet,
    leave_group_out_kernel,
)

MAX_IMAGES_TO_REPEAT = 5000  # beyond, `jackknifed` does not repeat a metric for each group

Features = Float[Tensor, "n d"]


class Jackknifed(NamedTuple):
    """A metric of two sets.

    Attributes:
        value: of all images.
        leave_group_out: the metric without each group of images in turn; empty if unknown.
    """

    value: float
    leave_group_out: list[float]


def jackknifed(
    metric: Callable[[Features, Features], float], *, min_images: int = 2
) -> Callable[..., Jackknifed]:
    """Decorator for a set metric: computes it again without each of up to 20 groups of images.

    Above 5,000 images, or where fewer than `min_images` would be left, it is computed only once.
    """

    @functools.wraps(metric)
    def repeated(reference: Features, reconstruction: Features) -> Jackknifed:
        groups = group_of(len(reference))
        remaining = len(groups) - np.bincount(groups)
        left_out = []
        if len(groups) <= MAX_IMAGES_TO_REPEAT and remaining.min() >= min_images:
            for group in range(len(remaining)):
                rows = np.flatnonzero(groups != group)
                left_out.append(metric(reference[rows], reconstruction[rows]))
        return Jackknifed(metric(reference, reconstruction), left_out)

    return repeated


def frechet(reference: Features, reconstruction: Features) -> Jackknifed:
    """Frechet distance, see `bench.statistics.distribution`."""
    first, second = reference.double().numpy(), reconstruction.double().numpy()
    left_out = leave_group_out_frechet(first, second).tolist() if len(first) >= 3 else []
    return Jackknifed(frechet_distance(first, second), left_out)


@jackknifed
def frechet_on_request(reference: Features, reconstruction: Features) -> float:
    """As `frechet`, for other features than the judge's own, which may be many."""
    return frechet_distance(reference.double().numpy(), reconstruction.double().numpy())


def kernel(reference: Features, reconstruction: Features) -> Jackknifed:
    """Kernel distance (KID), see `bench.statistics.distribution`."""
    first, second = reference.double().numpy(), reconstruction.double().numpy()
    left_out = leave_group_out_kernel(first, second).tolist() if len(first) >= 3 else []
    return Jackknifed(kernel_distance(first, second), left_out)
