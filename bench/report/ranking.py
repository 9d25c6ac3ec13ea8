"""Ranks from intervals: rows that cannot be told apart share one. Needs no torch.

The best row leads. Every other row is compared with it over the seeds and images they share, with
Holm's correction over these pairs. Rows share its rank down to the first row that is clearly worse,
which leads next, and so on: no row ranks above one with a better mean. A difference counts as a tie
if its corrected p-value is 0.05 or more, if it lies within the noise floor, or if there is not
enough data.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.record import Record
from bench.report.comparison import SEEDS_TO_CLAIM, SIGNIFICANCE, difference
from bench.report.metric import Metric
from bench.statistics import Difference, holm, noise_floor


@dataclass(frozen=True)
class Floor:
    """How far results of one method lie apart when only the seed differs.

    Attributes:
        name: the method.
        values: each metric over its seeds.
    """

    name: str
    values: dict[str, tuple[float, ...]]

    @property
    def seeds(self) -> int:
        """How many seeds it is estimated from."""
        return max(map(len, self.values.values()), default=0)

    def of(self, metric: str, *, seeds: int = 1) -> float:
        """95 % range of the difference of two means over `seeds` seeds each; 0 if unknown."""
        values = self.values.get(metric, ())
        return noise_floor(values, seeds=seeds) if len(values) >= SEEDS_TO_CLAIM else 0.0


@dataclass(frozen=True)
class Gap:
    """How a row differs from the best row of its table.

    Attributes:
        difference: row minus best; None where it cannot be computed.
        p: Holm-corrected p-value.
        tie: whether the two cannot be told apart.
    """

    difference: Difference | None
    p: float
    tie: bool

    def text(self, digits: int, factor: float) -> str:
        """`-0.26 [-0.30, -0.20] tie`."""
        if self.difference is None:
            return "unknown, tie"
        value, low, high = (
            factor * part
            for part in (self.difference.value, self.difference.low, self.difference.high)
        )
        interval = "" if math.isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
        return f"{value:+.{digits}f}{interval}{' tie' if self.tie else ''}"


@dataclass(frozen=True)
class Standing:
    """Place of one row.

    Attributes:
        index: position of the row among the rows given.
        rank: 1 for the best; shared in a tie.
        gap: to the best row of all; None for that row itself.
    """

    index: int
    rank: int
    gap: Gap | None


def find_floor(rows: Sequence[tuple[str, Sequence[Record]]]) -> Floor | None:
    """The floor from the row with most seeds, ties by name; None if no row has five seeds."""
    enough = [(name, records) for name, records in rows if len(records) >= SEEDS_TO_CLAIM]
    if not enough:
        return None
    name, records = min(enough, key=lambda row: (-len(row[1]), row[0]))
    values: dict[str, tuple[float, ...]] = {}
    for metric in records[0].metrics:
        series = [record.metrics.get(metric) for record in records]
        finite = tuple(float(value) for value in series if value is not None)
        if len(finite) == len(series):  # null stands for infinity
            values[metric] = finite
    return Floor(name, values)


def rank(rows: Sequence[Sequence[Record]], metric: Metric, floor: Floor | None) -> list[Standing]:
    """Standings of rows that are sorted by their mean, the best first; in the order given."""
    standings: list[Standing] = []
    left = list(range(len(rows)))
    to_best: dict[int, Gap] = {}
    while left:
        leader, others = left[0], left[1:]
        gaps = gaps_to(rows[leader], [rows[index] for index in others], metric.name, floor)
        by_index = dict(zip(others, gaps, strict=True))
        if not standings:
            to_best = by_index
        worse = [index for index in others if _is_worse(by_index[index], metric)]
        group = left[: left.index(worse[0])] if worse else left
        place = len(standings) + 1
        standings += [Standing(index, place, to_best.get(index)) for index in group]
        left = left[len(group) :]
    return standings


def gaps_to(
    leader: Sequence[Record], others: Sequence[Sequence[Record]], metric: str, floor: Floor | None
) -> list[Gap]:
    """How other rows differ from one row, with Holm's correction over them."""
    differences = [difference(row, leader, metric) for row in others]
    p_values = holm([found.p if found else math.nan for found in differences])
    return [_gap(*pair, metric, floor) for pair in zip(differences, p_values, strict=True)]


def _gap(found: Difference | None, p: float, metric: str, floor: Floor | None) -> Gap:
    if found is None or math.isnan(p):
        return Gap(found, p, tie=True)
    noise = floor.of(metric, seeds=found.seeds) if floor else 0.0
    return Gap(found, p, tie=p >= SIGNIFICANCE or abs(found.value) < noise)


def _is_worse(gap: Gap, metric: Metric) -> bool:
    return not gap.tie and gap.difference is not None and metric.cost(gap.difference.value) > 0
