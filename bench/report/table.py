"""The records of one protocol as a table: rows, fairness and order, computed once. No torch."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.record import Record, variants
from bench.report.comparison import SEEDS_TO_RANK
from bench.report.ledger import Check, check_records, failed_checks
from bench.report.metric import Metric, rank_metric
from bench.report.ranking import Floor, find_floor, rank
from bench.report.rows import Row, unranked_rows


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        records: every attempt, all under one protocol.
        rows: ranked rows first, the best first; then rows without rank; controls last.
        checks: the fairness ledger.
        floor: the noise floor, from a row with five seeds; None if there is none.
    """

    records: tuple[Record, ...]
    rows: tuple[Row, ...]
    checks: tuple[Check, ...]
    floor: Floor | None

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Table":
        """The table of records that share one protocol."""
        checks = check_records(records)
        rows = [
            replace(row, unfair=failed_checks(checks, row.records))
            for row in unranked_rows(records)
        ]
        metric = rank_metric(records[0].protocol)
        rows.sort(key=lambda row: _order(row, metric))
        floor = find_floor([(row.title, row.records) for row in rows if row.competes])
        return cls(tuple(records), tuple(_ranked(rows, metric, floor)), tuple(checks), floor)

    @property
    def protocol(self) -> dict[str, Any]:
        """What all records share."""
        return self.records[0].protocol

    @property
    def title(self) -> str:
        """What is trained on what, at which rate and budget."""
        return table_title(self.protocol)

    @property
    def metric(self) -> Metric:
        """What rows are ranked by."""
        return rank_metric(self.protocol)

    @property
    def contenders(self) -> list[Row]:
        """Rows that are not controls."""
        return [row for row in self.rows if row.control is None]

    @property
    def controls(self) -> list[Row]:
        """Rows that are bounds for the others."""
        return [row for row in self.rows if row.control is not None]

    @property
    def judged(self) -> Record:
        """A record with values for each image, if any has them."""
        records = [record for row in self.rows for record in row.records]
        return next((record for record in records if record.per_image), self.records[0])


def table_title(protocol: Mapping[str, Any], *, without: Collection[str] = ()) -> str:
    """Title of a table, or of several that differ in `rate` or `budget`, which it then omits."""
    facts = {
        "rate": f"{protocol['rate']:g} bits per position",
        "budget": f"budget {protocol['budget']}",
        "device": protocol["device"],
    }
    shown = [fact for key, fact in facts.items() if key not in without]
    name = f"{protocol['recipe']['name']} on {protocol['data']['name']}"
    return ", ".join([name, *shown, *variants(protocol)])


def _ranked(rows: Sequence[Row], metric: Metric, floor: Floor | None) -> list[Row]:
    """Sorted rows with their ranks, the rows without rank last."""
    common = _common_seeds(rows)
    ranked = [row for row in rows if _is_ranked(row, metric, common)]
    standings = rank([row.records for row in ranked], metric, floor)
    placed = [replace(ranked[s.index], rank=s.rank, gap=s.gap) for s in standings]
    return placed + [row for row in rows if not _is_ranked(row, metric, common)]


def _common_seeds(rows: Sequence[Row]) -> set[int]:
    """Seeds of more than half of the rows with enough seeds; rank needs seeds that others have."""
    enough = [row for row in rows if row.competes and len(row.records) >= SEEDS_TO_RANK]
    seeds = [{record.seed for record in row.records} for row in enough]
    return {
        seed for seed in set().union(*seeds) if 2 * sum(seed in own for own in seeds) > len(seeds)
    }


def _is_ranked(row: Row, metric: Metric, common: Collection[int]) -> bool:
    shared = sum(record.seed in common for record in row.records)
    return row.competes and metric.name in row.metrics and shared >= SEEDS_TO_RANK


def _order(row: Row, metric: Metric) -> tuple[bool, bool, float, str, str]:
    """Contenders that ended well by their mean, then failures, then controls; ties by name."""
    well = row.status == "ok" and metric.name in row.metrics
    value = row.metrics[metric.name].value if well and row.control is None else 0.0
    return (row.control is not None, not well, metric.cost(value), row.name, row.operating_point)
