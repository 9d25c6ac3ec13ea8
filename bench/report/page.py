"""One leaderboard as text: Markdown for a file, fewer columns for terminal and README. No torch."""

from collections.abc import Sequence
from typing import Any

from bench.report.columns import CODES, cells
from bench.report.footnotes import (
    commands,
    failure_lines,
    ledger_details,
    ledger_line,
    metric_lines,
    protocol_lines,
    provisional,
    ranking_line,
    reading_lines,
)
from bench.report.markdown import markdown_table, terminal_table
from bench.report.metric import METRICS
from bench.report.rows import Row
from bench.report.table import Table

_NOT_IN_README = [METRICS["ssim"].head, *(metric.head for metric in CODES), "seeds"]


def markdown(table: Table) -> str:
    """A whole leaderboard file."""
    reasons = dict.fromkeys(f"- `{row.name}`: {row.control}" for row in table.controls)
    failures = failure_lines(table.rows)
    parts = [
        f"# {table.title}",
        *_tables(table.contenders, table.controls),
        *(["\n".join(reasons)] if reasons else []),
        "\n".join(reading_lines(table)),
        ledger_details(table),
        *(["## Runs that did not end well", "\n".join(failures)] if failures else []),
        "## Protocol",
        "\n".join(f"- {line}" for line in protocol_lines(table)),
        "## How to reproduce",
        commands(table.rows),
    ]
    return "\n\n".join(parts) + "\n"


def terminal(table: Table) -> str:
    """The columns that fit a terminal."""
    return f"{terminal_table(cells(table.rows, compact=True))}\n\n{ledger_line(table.checks)}"


def excerpt(table: Table) -> str:
    """The tables of a README: each method at its own setting, in few columns."""
    shown = [row for row in table.contenders if not any(map(row.adds_to, table.contenders))]
    lines = [ranking_line(table.metric)]
    if few := len(provisional(table.rows)):
        lines.append(f"Rows whose place is provisional, since a claim needs more seeds: {few}.")
    if variations := len(table.contenders) - len(shown):
        lines.append(f"Rows left out here, which add a setting to one of these: {variations}.")
    lines += metric_lines(table.protocol)
    tables = _tables(shown, table.controls, compact=True, without=_NOT_IN_README)
    return "\n\n".join([f"**{table.title}**", *tables, " ".join(lines), ledger_line(table.checks)])


def _tables(contenders: Sequence[Row], controls: Sequence[Row], **options: Any) -> list[str]:
    parts = [markdown_table(cells(contenders, **options))] if contenders else []
    if controls:
        parts += ["Controls, not ranked:", markdown_table(cells(controls, **options))]
    return parts
