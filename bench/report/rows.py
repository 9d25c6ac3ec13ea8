"""From records to the rows of one table: seeds averaged, failures kept, fair rows ranked.

This module needs no torch.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.record import Record
from bench.report.comparison import SEEDS_TO_RANK, cost
from bench.report.ledger import check_records, failed_checks
from bench.report.ranking import Floor, Gap, find_floor, rank


@dataclass(frozen=True)
class Mean:
    """A metric over seeds.

    Attributes:
        value: mean over the seeds that have it.
        spread: standard deviation over seeds; NaN for a single seed.
        seeds: how many.
    """

    value: float
    spread: float
    seeds: int


@dataclass(frozen=True)
class Row:
    """One quantizer at one setting, over its seeds; the last attempt of each seed counts.

    Attributes:
        records: one record a seed, by seed.
        attempts: how many records there are in all.
        metrics: every metric that all of these records have.
        unfair: names of the fairness checks that one of its records fails.
        rank: 1 for the best; None for controls, for rows with a seed that is not `ok` or that fails
            a fairness check, and for rows with too few seeds.
        gap: how a ranked row differs from the best; None for the best itself.
    """

    records: tuple[Record, ...]
    attempts: int
    metrics: dict[str, Mean]
    unfair: tuple[str, ...] = ()
    rank: int | None = None
    gap: Gap | None = None

    @property
    def name(self) -> str:
        """Registered name of the quantizer."""
        return self.records[0].quantizer["name"]

    @property
    def operating_point(self) -> str:
        """The hyper-parameters that set the rate or differ from the defaults."""
        return self.records[0].quantizer["operating_point"]

    @property
    def title(self) -> str:
        """Name and operating point."""
        return f"{self.name} ({self.operating_point})"

    @property
    def control(self) -> str | None:
        """Why the row bounds others instead of competing, or None."""
        return self.records[0].quantizer["control"]

    @property
    def status(self) -> str:
        """`ok` where every seed is; otherwise how many seeds ended how."""
        statuses = [record.status for record in self.records]
        kinds = sorted(set(statuses), key=lambda status: (status != "ok", status))
        if len(kinds) == 1:
            return kinds[0]
        return ", ".join(f"{statuses.count(kind)} {kind}" for kind in kinds)

    @property
    def competes(self) -> bool:
        """Whether it is a fair contender of which every seed ended well, however many there are."""
        return self.control is None and self.status == "ok" and not self.unfair

    def first(self, part: str, key: str) -> Any:
        """A fact that all seeds share, from the first record that has it; None if none has."""
        values = [getattr(record, part).get(key) for record in self.records]
        return next((value for value in values if value is not None), None)

    def mean(self, part: str, key: str) -> Mean | None:
        """A number that differs between seeds; None where no record has it."""
        values = [getattr(record, part).get(key) for record in self.records]
        known = [value for value in values if value is not None]
        return _mean(known) if known else None


def build_rows(records: Iterable[Record], *, rank_by: str) -> list[Row]:
    """The rows of one table: ranked, the best first, then those without rank, controls last."""
    records = list(records)
    checks = check_records(records)
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        key = (record.quantizer["name"], record.quantizer["operating_point"])
        groups.setdefault(key, []).append(record)
    rows = [_row(group) for group in groups.values()]
    rows = [replace(row, unfair=failed_checks(checks, row.records)) for row in rows]
    rows.sort(key=lambda row: _order(row, rank_by))
    common = _common_seeds(rows)
    ranked = [row for row in rows if _is_ranked(row, rank_by, common)]
    standings = rank([row.records for row in ranked], rank_by, floor_of(rows))
    placed = [replace(ranked[s.index], rank=s.rank, gap=s.gap) for s in standings]
    return placed + [row for row in rows if not _is_ranked(row, rank_by, common)]


def floor_of(rows: Iterable[Row]) -> Floor | None:
    """The noise floor of a table, from one of its rows with five seeds."""
    return find_floor([(row.title, row.records) for row in rows if row.competes])


def _row(group: Sequence[Record]) -> Row:
    last = {record.seed: record for record in sorted(group, key=lambda record: record.attempt)}
    records = tuple(last[seed] for seed in sorted(last))
    judged = [record.metrics for record in records if record.metrics]
    names = [name for name in judged[0] if all(name in other for other in judged)] if judged else []
    metrics = {name: _mean([values[name] for values in judged]) for name in names}
    return Row(records, len(group), metrics)


def _mean(values: Sequence[float | None]) -> Mean:
    """JSON's null stands for infinity here: the mean of anything with it is infinite."""
    numbers = [math.inf if value is None else value for value in values]
    finite = len(numbers) > 1 and all(map(math.isfinite, numbers))
    spread = statistics.stdev(numbers) if finite else math.nan
    return Mean(math.fsum(numbers) / len(numbers), spread, len(numbers))


def _common_seeds(rows: Iterable[Row]) -> set[int]:
    """Seeds of more than half of the rows with enough; a row of others cannot be compared."""
    enough = [row for row in rows if row.competes and len(row.records) >= SEEDS_TO_RANK]
    seeds = [{record.seed for record in row.records} for row in enough]
    return {
        seed for seed in set().union(*seeds) if 2 * sum(seed in own for own in seeds) > len(seeds)
    }


def _is_ranked(row: Row, rank_by: str, common: set[int]) -> bool:
    shared = sum(record.seed in common for record in row.records)
    return row.competes and rank_by in row.metrics and shared >= SEEDS_TO_RANK


def _order(row: Row, rank_by: str) -> tuple[bool, bool, float, str, str]:
    """Contenders that ended well by their mean, then failures, then controls; ties by name."""
    well = row.status == "ok" and rank_by in row.metrics
    value = row.metrics[rank_by].value if well and row.control is None else 0.0
    return (row.control is not None, not well, cost(value, rank_by), row.name, row.operating_point)
