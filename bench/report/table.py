"""One leaderboard as text: Markdown for the disk, a narrower table for the terminal.

This module needs no torch.
"""

import math
import statistics
from collections.abc import Sequence

import pandas as pd

from bench.record import Record
from bench.report.comparison import HIGHER_IS_BETTER
from bench.report.footnotes import (
    commands,
    failure_lines,
    has_joint_bits,
    ledger_details,
    ledger_line,
    metric_name,
    protocol_lines,
    reading_lines,
)
from bench.report.ranking import Gap
from bench.report.rows import Mean, Row, build_rows
from bench.report.timing import step_times

_LEFT_OUT_OF_COMPACT = ("bits/pixel", "usage ceiling %", "quantizer parameters", "GFLOP/step")
_DIGITS = {"psnr_db": 2}  # after the point; 4 for every other metric


def markdown(title: str, records: Sequence[Record]) -> str:
    """A whole leaderboard file. All records must share one protocol."""
    rows = build_rows(records, rank_by=rank_metric(records[0]))
    parts = [f"# {title}", body(records)]
    failures = failure_lines(rows)
    if failures:
        parts.append("## Runs that did not end well\n\n" + "\n".join(failures))
    lines = [f"- {line}" for line in protocol_lines(records[0], rows)]
    parts.append("## Protocol\n\n" + "\n".join(lines))
    parts.append("## How to reproduce\n\n" + commands(rows))
    return "\n\n".join(parts) + "\n"


def body(records: Sequence[Record]) -> str:
    """The tables alone, contenders and controls, with the lines needed to read them.

    All records must share one protocol.
    """
    metric = rank_metric(records[0])
    rows = build_rows(records, rank_by=metric)
    contenders = [row for row in rows if row.control is None]
    controls = [row for row in rows if row.control is not None]
    parts = []
    if contenders:
        parts.append(as_markdown(frame(contenders)))
    if controls:
        lines = dict.fromkeys(f"- `{row.name}`: {row.control}" for row in controls)
        table = as_markdown(frame(controls))
        parts += ["Controls, not ranked:", table, "\n".join(lines)]
    parts.append("\n".join(reading_lines(records[0], rows, metric)))
    parts.append(ledger_details(records))
    return "\n\n".join(parts)


def terminal(records: Sequence[Record]) -> str:
    """The columns that fit a terminal."""
    rows = build_rows(records, rank_by=rank_metric(records[0]))
    narrow = frame(rows, compact=True)
    table = narrow.to_markdown(index=False, tablefmt="simple", disable_numparse=True)
    return f"{table}\n\n{ledger_line(records)}"


def rank_metric(record: Record) -> str:
    """What rows are ranked by: rFID where Inception judged, PSNR where only proxies did."""
    return "rfid" if record.protocol["extractor"]["metric"] == "rfid" else "psnr_db"


def frame(rows: Sequence[Row], *, compact: bool = False) -> pd.DataFrame:
    """Rows as text.

    Args:
        rows: of one table.
        compact: leave out the columns that a first look does not need.
    """
    cells = pd.DataFrame([_cells(row, compact=compact) for row in rows])
    return cells.drop(columns=list(_LEFT_OUT_OF_COMPACT)) if compact else cells


def as_markdown(cells: pd.DataFrame) -> str:
    """A table of Markdown."""
    return cells.to_markdown(index=False, disable_numparse=True)


def _cells(row: Row, *, compact: bool) -> dict[str, str]:
    """One row of the table; the keys are the column heads."""
    ms = step_times(row)
    return {
        "rank": str(row.rank) if row.rank else "-",
        "quantizer": row.name,
        "operating point": row.operating_point.replace("|", "\\|"),
        "bits/position": _number(row.first("rate", "bits_per_position"), 2),
        "measured bits": _measured_bits(row),
        "bits/pixel": _number(row.first("rate", "bits_per_pixel"), 4),
        **_metric_cells(row, compact=compact),
        "usage %": _scaled_mean(row.metrics.get("usage"), 100.0, 1),
        "usage ceiling %": _scaled_mean(row.metrics.get("usage_ceiling"), 100.0, 1),
        "perplexity": _mean(row.metrics.get("perplexity"), 0),
        "quantizer parameters": _integer(row.first("parameters", "quantizer")),
        "GFLOP/step": _giga(row.first("budget", "train_step_flops")),
        "ms/step": f"{statistics.median(ms):.0f}" if ms else "-",
        "seeds": ", ".join(str(record.seed) for record in row.records),
        "status": f"unfair: {', '.join(row.unfair)}" if row.unfair else row.status,
    }


def _measured_bits(row: Row) -> str:
    """Of the codebooks one by one; of several also of all together, if every seed counted it."""
    measured = row.mean("rate", "measured_bits_per_position")
    if measured is None or not has_joint_bits(row):
        return _mean(measured, 2)
    joint = row.mean("rate", "joint_bits_per_position")
    counted = joint is not None and joint.seeds == measured.seeds
    return f"{_mean(measured, 2)}, joint {_mean(joint, 2) if counted else '-'}"


def _metric_cells(row: Row, *, compact: bool) -> dict[str, str]:
    """The judge's numbers; the one that ranks is followed by the difference to the best row."""
    protocol, ranked_by = row.records[0].protocol, rank_metric(row.records[0])
    names = ["psnr_db", "ssim", protocol["perceptual_metric"]["name"]]
    names.append(protocol["extractor"]["metric"])
    cells = {}
    for name in names:
        if name == "none":
            continue
        cells[_head(name)] = _mean(row.metrics.get(name), _DIGITS.get(name, 4))
        if name == ranked_by:
            cells[f"Δ {metric_name(name)} [95 %]"] = _gap(row, _DIGITS.get(name, 4))
    if not compact:
        kernel = protocol["extractor"]["kernel_metric"]
        cells[f"{kernel} x 1000 ↓"] = _scaled_mean(row.metrics.get(kernel), 1000.0, 3)
    return cells


def _gap(row: Row, digits: int) -> str:
    """The difference to the best row with its interval, and whether it is a tie."""
    if row.rank is None:
        return "-"
    return "best" if row.gap is None else _gap_text(row.gap, digits)


def _gap_text(gap: Gap, digits: int) -> str:
    found = gap.difference
    if found is None:
        return "unknown, tie"
    text = f"{found.value:+.{digits}f}"
    if not math.isnan(found.low):
        text += f" [{found.low:.{digits}f}, {found.high:.{digits}f}]"
    return f"{text} tie" if gap.tie else text


def _head(metric: str) -> str:
    return f"{metric_name(metric)} {'↑' if metric in HIGHER_IS_BETTER else '↓'}"


def _mean(mean: Mean | None, digits: int) -> str:
    if mean is None:
        return "-"
    text = _number(mean.value, digits)
    return text if math.isnan(mean.spread) else f"{text} ± {_number(mean.spread, digits)}"


def _scaled_mean(mean: Mean | None, factor: float, digits: int) -> str:
    if mean is None:
        return "-"
    return _mean(Mean(factor * mean.value, factor * mean.spread, mean.seeds), digits)


def _number(value: float | None, digits: int) -> str:
    """Rates of a control are null in a record, which stands for infinity."""
    return "∞" if value is None or math.isinf(value) else f"{value:.{digits}f}"


def _integer(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _giga(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e9:.2f}"
