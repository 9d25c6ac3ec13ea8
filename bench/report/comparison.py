"""Two rows of a table compared over the seeds and the test images that they share.

This module needs no torch.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.record import Record
from bench.statistics import Difference, leave_group_out_mean, paired_difference

SEEDS_TO_RANK = 3
SEEDS_TO_CLAIM = 5
SIGNIFICANCE = 0.05
HIGHER_IS_BETTER = {"psnr_db", "ssim", "ms_ssim", "usage", "perplexity"}


def cost(value: float, metric: str) -> float:
    """A value with the sign that makes the lower of two the better one."""
    return -value if metric in HIGHER_IS_BETTER else value


def comparable_metrics(record: Record) -> list[str]:
    """The metrics whose records allow a comparison, those that are means over images first."""
    return [*record.per_image, *record.leave_group_out]


def difference(first: Sequence[Record], second: Sequence[Record], metric: str) -> Difference | None:
    """First minus second, over the seeds that both have.

    Args:
        first: one record a seed, all of one method.
        second: the same of another method, under the same protocol.
        metric: one of `comparable_metrics`.

    Returns:
        None where no seed is shared, or a record lacks the metric or has an infinite value.
    """
    ours = {record.seed: _series(record, metric) for record in first}
    theirs = {record.seed: _series(record, metric) for record in second}
    pairs = [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
    known = [(a, b) for a, b in pairs if a is not None and b is not None and len(a) == len(b)]
    if not known or len(known) < len(pairs):
        return None
    differences = np.array([a - b for a, b in known])
    images = first[0].protocol["data"]["test_images"]
    return paired_difference(differences[:, 0], differences[:, 1:], images=images)


def _series(record: Record, metric: str) -> NDArray[np.float64] | None:
    """A metric on all test images, then without each group of them."""
    if metric in record.leave_group_out:
        known = [record.metrics.get(metric), *record.leave_group_out[metric]]
        return None if None in known else np.array(known, dtype=np.float64)
    images = record.per_image.get(metric)
    if not images or len(images) < 3 or None in images:
        return None
    values = np.array(images, dtype=np.float64)
    return np.concatenate([[values.mean()], leave_group_out_mean(values)])
