"""Ranks from intervals: rows that cannot be told apart share one. Needs no torch.

The best row leads. Every other row is compared with it over the seeds and images they share, with
Holm's correction over these pairs. Rows share its rank down to the first that is clearly worse,
which leads next, and so on: no row ranks above one with a better mean. A difference counts as a tie
where its corrected p-value is 0.05 or more, where it lies within the noise floor, or where there is
too little to tell.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.record import Record
from bench.report.comparison import SEEDS_TO_CLAIM, SIGNIFICANCE, cost, difference
from bench.statistics import Difference, holm, noise_floor


@dataclass(frozen=True)
class Floor:
    """How far results of one method lie apart when nothing but the seed differs.

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
        """95 % range of the difference of two means over so many seeds; 0 for another metric."""
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


@dataclass(frozen=True)
class Standing:
    """Place of one row.

    Attributes:
        index: which of the rows given.
        rank: 1 for the best; shared in a tie.
        gap: to the best row of all; None for that row itself.
    """

    index: int
    rank: int
    gap: Gap | None


def find_floor(rows: Sequence[tuple[str, Sequence[Record]]]) -> Floor | None:
    """The floor from the row with most seeds, the first of them by name; None below five seeds."""
    enough = [(name, records) for name, records in rows if len(records) >= SEEDS_TO_CLAIM]
    if not enough:
        return None
    name, records = min(enough, key=lambda row: (-len(row[1]), row[0]))
    values: dict[str, tuple[float, ...]] = {}
    for metric in records[0].metrics:
        found = [record.metrics.get(metric) for record in records]
        finite = tuple(float(value) for value in found if value is not None)
        if len(finite) == len(found):  # null stands for infinity
            values[metric] = finite
    return Floor(name, values)


def rank(rows: Sequence[Sequence[Record]], metric: str, floor: Floor | None) -> list[Standing]:
    """Standings of rows that are sorted, the best mean first; by rank, then in the order given."""
    standings: list[Standing] = []
    left = list(range(len(rows)))
    to_best: dict[int, Gap] = {}
    while left:
        leader, others = left[0], left[1:]
        gaps = gaps_to(rows[leader], [rows[index] for index in others], metric, floor)
        found = dict(zip(others, gaps, strict=True))
        if not standings:
            to_best = found
        worse = [index for index in others if _worse(found[index], metric)]
        group = left[: left.index(worse[0])] if worse else left
        place = len(standings) + 1
        standings += [Standing(index, place, to_best.get(index)) for index in group]
        left = left[len(group) :]
    return standings


def gaps_to(
    leader: Sequence[Record], others: Sequence[Sequence[Record]], metric: str, floor: Floor | None
) -> list[Gap]:
    """How each of some rows differs from one, with Holm's correction over them."""
    differences = [difference(row, leader, metric) for row in others]
    p_values = holm([found.p if found else math.nan for found in differences])
    return [_gap(*pair, metric, floor) for pair in zip(differences, p_values, strict=True)]


def _gap(found: Difference | None, p: float, metric: str, floor: Floor | None) -> Gap:
    if found is None or math.isnan(p):
        return Gap(found, p, tie=True)
    noise = floor.of(metric, seeds=found.seeds) if floor else 0.0
    return Gap(found, p, tie=p >= SIGNIFICANCE or abs(found.value) < noise)


def _worse(gap: Gap, metric: str) -> bool:
    if gap.tie or gap.difference is None:
        return False
    return cost(gap.difference.value, metric) > 0
