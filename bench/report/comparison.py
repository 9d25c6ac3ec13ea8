"""Two rows of a table compared over the seeds and the test images that they share.

This module needs no torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.record import Record
from bench.statistics import Difference, leave_group_out_mean, paired_difference
from bench.statistics.over_seeds import seed_difference

SEEDS_TO_RANK = 3
SEEDS_TO_CLAIM = 5
SIGNIFICANCE = 0.05
OVER_SEEDS = ("usage", "perplexity")  # of a run as a whole: without values of images
HIGHER_IS_BETTER = {"psnr_db", "ssim", "ms_ssim", "usage", "perplexity"}

Series: TypeAlias = NDArray[np.float64]  # (1 + groups,)


def cost(value: float, metric: str) -> float:
    """A value with the sign that makes the lower of two the better one."""
    return -value if metric in HIGHER_IS_BETTER else value


def comparable_metrics(record: Record) -> list[str]:
    """The metrics that have values of images, those that are means over them first."""
    return [*record.per_image, *record.leave_group_out]


def difference(first: Sequence[Record], second: Sequence[Record], metric: str) -> Difference | None:
    """First minus second, over the seeds that both have.

    Args:
        first: one record a seed, all of one method.
        second: the same of another method, under the same protocol.
        metric: one of `comparable_metrics`, over seeds and images, or of `OVER_SEEDS`.

    Returns:
        None where no seed is shared, or a record lacks the metric or has an infinite value.
    """
    if metric in OVER_SEEDS:
        return _over_seeds(first, second, metric)
    if not first:
        return None
    images = first[0].protocol["data"]["test_images"]
    return series_difference(seed_series(first, metric), seed_series(second, metric), images=images)


def seed_series(records: Iterable[Record], metric: str) -> dict[int, Series | None]:
    """By seed, a metric on all test images, then without each group of them; None if unknown."""
    return {record.seed: _series(record, metric) for record in records}


def series_difference(
    first: Mapping[int, Series | None], second: Mapping[int, Series | None], *, images: int
) -> Difference | None:
    """First minus second, each as `seed_series` gives it; None as in `difference`."""
    pairs = [(first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())]
    known = [(a, b) for a, b in pairs if a is not None and b is not None and len(a) == len(b)]
    if not known or len(known) < len(pairs):
        return None
    differences = np.array([a - b for a, b in known])
    return paired_difference(differences[:, 0], differences[:, 1:], images=images)


def _over_seeds(
    first: Sequence[Record], second: Sequence[Record], metric: str
) -> Difference | None:
    ours = {record.seed: record.metrics.get(metric) for record in first}
    theirs = {record.seed: record.metrics.get(metric) for record in second}
    pairs = [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    if not known or len(known) < len(pairs):
        return None
    return seed_difference([a for a, _ in known], [b for _, b in known])


def _series(record: Record, metric: str) -> Series | None:
    if metric in record.leave_group_out:
        known = [record.metrics.get(metric), *record.leave_group_out[metric]]
        return None if None in known else np.array(known, dtype=np.float64)
    images = record.per_image.get(metric)
    if not images or len(images) < 3 or None in images:
        return None
    values = np.array(images, dtype=np.float64)
    return np.concatenate([[values.mean()], leave_group_out_mean(values)])
