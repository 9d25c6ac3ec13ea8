"""From records to rows: one row per setting, averaged over seeds. Needs no torch."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.record import Record, grouped
from bench.report.ranking import Gap


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

    def text(self, digits: int, factor: float = 1.0) -> str:
        """`24.10 ± 0.05`, both multiplied by a factor."""
        value = number(factor * self.value, digits)
        spread = factor * self.spread
        return value if math.isnan(spread) else f"{value} ± {number(spread, digits)}"


@dataclass(frozen=True)
class Row:
    """One quantizer at one setting, over its seeds; the last attempt of each seed counts.

    Attributes:
        records: one record per seed, by seed.
        attempts: how many records there are in all.
        metrics: every metric that all of these records have.
        unfair: names of the fairness checks that one of its records fails.
        rank: 1 for the best; None for controls, for rows with a seed that failed or is unfair, and
            for rows with too few seeds.
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
        """Why the row is a bound for others and does not compete, or None."""
        return self.records[0].quantizer["control"]

    @property
    def status(self) -> str:
        """How its seeds ended."""
        return status_of(self.records)

    @property
    def competes(self) -> bool:
        """Whether it is a fair contender whose seeds all ended well, however many there are."""
        return self.control is None and self.status == "ok" and not self.unfair

    def adds_to(self, other: "Row") -> bool:
        """Whether it has all settings of another row of the same method, and more."""
        settings, others = ({*row.operating_point.split(", ")} for row in (self, other))
        return self.name == other.name and settings > others

    def first(self, part: str, key: str) -> Any:
        """A fact that all seeds share, from the first record that has it; None if none has."""
        values = [getattr(record, part).get(key) for record in self.records]
        return next((value for value in values if value is not None), None)

    def mean(self, part: str, key: str) -> Mean | None:
        """A number that differs between seeds; None if no record has it."""
        values = [getattr(record, part).get(key) for record in self.records]
        known = [value for value in values if value is not None]
        return _mean(known) if known else None


def unranked_rows(records: Sequence[Record]) -> list[Row]:
    """One row per setting of the records of a table, in the order given."""

    def setting(record: Record) -> tuple[str, str]:
        return record.quantizer["name"], record.quantizer["operating_point"]

    return [_row(group) for group in grouped(records, setting).values()]


def status_of(records: Sequence[Record]) -> str:
    """`ok` if every record is; otherwise how many seeds ended how, the good ones first."""
    groups = grouped(records, lambda record: record.status)
    if len(groups) == 1:
        return records[0].status
    kinds = sorted(groups, key=lambda status: (status != "ok", status))
    return ", ".join(f"{len(groups[kind])} {kind}" for kind in kinds)


def last_attempts(records: Sequence[Record]) -> tuple[Record, ...]:
    """The last attempt of each seed, by seed."""
    last = {record.seed: record for record in sorted(records, key=lambda record: record.attempt)}
    return tuple(last[seed] for seed in sorted(last))


def number(value: float | None, digits: int) -> str:
    """A number in a cell; a record has null for an infinite one."""
    return "∞" if value is None or math.isinf(value) else f"{value:.{digits}f}"


def _row(attempts: Sequence[Record]) -> Row:
    records = last_attempts(attempts)
    judged = [record.metrics for record in records if record.metrics]
    names = [name for name in judged[0] if all(name in other for other in judged)] if judged else []
    metrics = {name: _mean([values[name] for values in judged]) for name in names}
    return Row(records, len(attempts), metrics)


def _mean(values: Sequence[float | None]) -> Mean:
    """The mean of numbers from a record, where null stands for infinity."""
    numbers = [math.inf if value is None else value for value in values]
    finite = len(numbers) > 1 and all(map(math.isfinite, numbers))
    spread = statistics.stdev(numbers) if finite else math.nan
    return Mean(math.fsum(numbers) / len(numbers), spread, len(numbers))
