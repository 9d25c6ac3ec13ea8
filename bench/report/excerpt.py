"""What a README shows of a leaderboard: each method at its own setting, in few columns.

This module needs no torch.
"""

from collections.abc import Sequence

from bench.record import Record
from bench.report.footnotes import ledger_line, provisional, proxy_lines, ranking_line
from bench.report.rows import Row, build_rows
from bench.report.table import as_markdown, frame, rank_metric

_LEFT_OUT = ["SSIM ↑", "usage %", "perplexity", "seeds"]


def excerpt(title: str, records: Sequence[Record]) -> str:
    """The tables of a README, contenders and controls. All records must share one protocol."""
    metric = rank_metric(records[0])
    rows = build_rows(records, rank_by=metric)
    contenders = [row for row in rows if row.control is None]
    controls = [row for row in rows if row.control is not None]
    shown = _without_variations(contenders)
    parts = [f"**{title}**"]
    if shown:
        parts.append(_table(shown))
    if controls:
        parts += ["Controls, not ranked:", _table(controls)]
    lines = [ranking_line(metric)]
    if few := len(provisional(rows)):
        lines.append(f"Rows whose place is provisional, since a claim needs more seeds: {few}.")
    if variations := len(contenders) - len(shown):
        lines.append(f"Rows left out here, which add a setting to one of these: {variations}.")
    parts += [" ".join([*lines, *proxy_lines(records[0])]), ledger_line(records)]
    return "\n\n".join(parts)


def _table(rows: Sequence[Row]) -> str:
    return as_markdown(frame(rows, compact=True).drop(columns=_LEFT_OUT))


def _without_variations(rows: Sequence[Row]) -> list[Row]:
    """Rows whose settings are not those of another row of the same method and more."""
    return [row for row in rows if not any(_adds_to(row, other) for other in rows)]


def _adds_to(row: Row, other: Row) -> bool:
    return row.name == other.name and _settings(row) > _settings(other)


def _settings(row: Row) -> frozenset[str]:
    return frozenset(row.operating_point.split(", "))
