"""From records to the rows of one table: seeds averaged, failures kept, ranks shared in a tie.

This module needs no torch.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.record import Record

HIGHER_IS_BETTER = {"psnr_db", "ssim"}


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

    @property
    def standard_error(self) -> float:
        """Of the mean; NaN for a single seed."""
        return self.spread / math.sqrt(self.seeds)


@dataclass(frozen=True)
class Row:
    """One quantizer at one setting, over its seeds; the last attempt of each seed counts.

    Attributes:
        records: one record a seed, by seed.
        attempts: how many records there are in all.
        metrics: every metric that all of these records have.
        rank: 1 for the best; None for controls and for rows with a seed that is not `ok`.
    """

    records: tuple[Record, ...]
    attempts: int
    metrics: dict[str, Mean]
    rank: int | None = None

    @property
    def name(self) -> str:
        """Registered name of the quantizer."""
        return self.records[0].quantizer["name"]

    @property
    def operating_point(self) -> str:
        """The hyper-parameters that set the rate or differ from the defaults."""
        return self.records[0].quantizer["operating_point"]

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

    def first(self, part: str, key: str) -> Any:
        """A fact that all seeds share, from the first record that has it; None if none has."""
        values = [getattr(record, part).get(key) for record in self.records]
        return next((value for value in values if value is not None), None)


def build_rows(records: Iterable[Record], *, rank_by: str) -> list[Row]:
    """The rows of one table, ranked, the best first, failures and controls last."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        key = (record.quantizer["name"], record.quantizer["operating_point"])
        groups.setdefault(key, []).append(record)
    rows = [_row(group) for group in groups.values()]
    contenders = [row for row in rows if _ranks(row, rank_by)]
    contenders.sort(key=lambda row: (_cost(row, rank_by), row.name, row.operating_point))
    others = [row for row in rows if not _ranks(row, rank_by)]
    others.sort(key=lambda row: (row.control is not None, row.name, row.operating_point))
    return _with_ranks(contenders, rank_by) + others


def tied(first: Mean, second: Mean) -> bool:
    """Whether two means differ by less than two standard errors; a single seed never ties."""
    error = math.hypot(first.standard_error, second.standard_error)
    return abs(first.value - second.value) <= 2 * error  # False when the error is NaN


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


def _ranks(row: Row, rank_by: str) -> bool:
    return row.control is None and row.status == "ok" and rank_by in row.metrics


def _cost(row: Row, rank_by: str) -> float:
    value = row.metrics[rank_by].value
    return -value if rank_by in HIGHER_IS_BETTER else value


def _with_ranks(contenders: Sequence[Row], rank_by: str) -> list[Row]:
    """Competition ranks; a row ties with the best row of the group above it."""
    ranked: list[Row] = []
    leader: Row | None = None
    rank = 1
    for place, row in enumerate(contenders, start=1):
        if leader is None or not tied(leader.metrics[rank_by], row.metrics[rank_by]):
            leader, rank = row, place
        ranked.append(Row(row.records, row.attempts, row.metrics, rank))
    return ranked
