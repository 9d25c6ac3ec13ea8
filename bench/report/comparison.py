"""Two rows of a table, compared over the seeds and test images that they share. Needs no torch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.record import Record
from bench.report.metric import metric_of
from bench.statistics import Difference, leave_group_out_mean, paired_difference
from bench.statistics.over_seeds import seed_difference

SEEDS_TO_RANK = 3
SEEDS_TO_CLAIM = 5
SIGNIFICANCE = 0.05

Series: TypeAlias = NDArray[np.float64]  # (1 + groups,)


def metrics_over_images(record: Record) -> list[str]:
    """The metrics with values for parts of the test set; means over images come first."""
    return [*record.per_image, *record.leave_group_out]


def metrics_over_seeds(record: Record) -> list[str]:
    """The metrics that are one number for the whole run, such as code usage."""
    extra = record.protocol.get("metrics", {})
    others = [key for key in record.metrics if key not in metrics_over_images(record)]
    metrics = [metric_of(record.protocol, key) for key in others]
    return [
        metric.name
        for metric in metrics
        if metric.higher_is_better is not None and (metric.kind == "codes" or metric.name in extra)
    ]


def difference(first: Sequence[Record], second: Sequence[Record], metric: str) -> Difference | None:
    """First minus second, over the seeds that both have.

    Args:
        first: one record per seed, all of one method.
        second: one record per seed of another method, under the same protocol.
        metric: key of `Record.metrics`; compared over seeds and images where records have values
            for parts of the test set, otherwise over seeds only.

    Returns:
        None if no seed is shared, or a record lacks the metric or has an infinite value.
    """
    if any(metric in metrics_over_images(record) for record in (*first, *second)):
        images = (*first, *second)[0].protocol["data"]["test_images"]
        series = seed_series(first, metric), seed_series(second, metric)
        return series_difference(*series, images=images)
    values = [
        {record.seed: record.metrics.get(metric) for record in row} for row in (first, second)
    ]
    pairs = _complete_pairs(*values)
    return seed_difference([a for a, _ in pairs], [b for _, b in pairs]) if pairs else None


def seed_series(records: Iterable[Record], metric: str) -> dict[int, Series | None]:
    """By seed: the metric on all test images, then without each group; None where unknown."""
    return {record.seed: _series(record, metric) for record in records}


def series_difference(
    first: Mapping[int, Series | None], second: Mapping[int, Series | None], *, images: int
) -> Difference | None:
    """First minus second, both from `seed_series`; None as in `difference`."""
    pairs = _complete_pairs(first, second)
    if not pairs or any(len(a) != len(b) for a, b in pairs):
        return None
    differences = np.array([a - b for a, b in pairs])
    return paired_difference(differences[:, 0], differences[:, 1:], images=images)


def _complete_pairs(first: Mapping[int, Any], second: Mapping[int, Any]) -> list[tuple[Any, Any]]:
    """The values of the shared seeds; empty if any of them is None."""
    pairs = [(first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())]
    return [] if any(a is None or b is None for a, b in pairs) else pairs


def _series(record: Record, metric: str) -> Series | None:
    if metric in record.leave_group_out:
        values = [record.metrics.get(metric), *record.leave_group_out[metric]]
        return None if None in values else np.array(values, dtype=np.float64)
    images = record.per_image.get(metric)
    if not images or len(images) < 3 or None in images:
        return None
    of_images = np.array(images, dtype=np.float64)
    return np.concatenate([[of_images.mean()], leave_group_out_mean(of_images)])
