"""Methods under several budgets: curves, crossings, and equal time instead of equal steps.

See `bench.report.curves` for what lies between two budgets. This module needs no torch.
"""

import math
from collections.abc import Iterable, Sequence

from bench.record import Record, canonical_sha256, grouped
from bench.report.budgets_plot import svg
from bench.report.crossings import UNITS, crossings, without_common_range
from bench.report.curves import TRACKS, Curve, curves_of
from bench.report.metric import Metric
from bench.report.rows import Row
from bench.report.table import table_title
from bench.report.timing import process_line

_OF_A_BUDGET = ("budget", "budget_factor", "steps", "sha256")  # of a protocol
_UNKNOWN = {
    "wall-clock": "the machine that timed the others, if any, has no undisturbed run of each row",
    "FLOPs": "its records do not hold them",
}


def pages(records: Sequence[Record]) -> dict[str, str]:
    """The page of all families of runs with several budgets, and its picture; empty if none."""
    families = {
        table_title(group[0].protocol, without=["budget"]): several
        for group in _families(records)
        if (several := curves_of(group))
    }
    if not families:
        return {}
    metric = next(iter(families.values()))[0].metric
    picture = f"![{metric.title} over steps, time and FLOPs](budgets.svg)"
    sections = [_section(title, group) for title, group in families.items()]
    text = "\n\n".join(["# Budgets", picture, *sections]) + "\n"
    return {"budgets.md": text, "budgets.svg": svg(families)}


def _families(records: Iterable[Record]) -> list[list[Record]]:
    """Records that share everything but their budget, if there are at least two budgets."""

    def identity(record: Record) -> str:
        shared = {k: v for k, v in record.protocol.items() if k not in _OF_A_BUDGET}
        return canonical_sha256(shared)

    families = [group for _, group in sorted(grouped(records, identity).items())]
    return [group for group in families if len({r.protocol["steps"] for r in group}) > 1]


def _section(title: str, curves: Sequence[Curve]) -> str:
    metric = curves[0].metric.title
    parts = [
        f"## {title}",
        f"{metric} under each budget, mean and standard deviation over "
        "seeds, of rows that are fair and ended well:",
        _budgets_table(curves),
        "Who changes places between these budgets, on each track:",
        "\n".join(line for track in TRACKS for line in _crossing_lines(curves, track)),
        f"{metric} at equal spend, which is what the costliest method needs "
        "for the smallest budget:",
        _equal_spend_table(curves),
    ]
    if any(curve.knows("wall-clock") for curve in curves):
        parts.append(_time_line(curves))
    return "\n\n".join(parts)


def _budgets_table(curves: Sequence[Curve]) -> str:
    budgets = sorted({row.records[0].protocol["steps"] for curve in curves for row in curve.rows})
    lines = [
        f"| quantizer | {' | '.join(f'{steps} steps' for steps in budgets)} | seeds |",
        f"|:--|{'--:|' * len(budgets)}:--|",
    ]
    for curve in curves:
        by_steps = {row.records[0].protocol["steps"]: row for row in curve.rows}
        cells = [_cell(by_steps.get(steps), curve.metric) for steps in budgets]
        seeds = " / ".join(str(len(row.records)) for row in curve.rows)
        lines.append(f"| {curve.title} | {' | '.join(cells)} | {seeds} |")
    return "\n".join(lines)


def _cell(row: Row | None, metric: Metric) -> str:
    if row is None:
        return ""
    mean = row.metrics[metric.name]
    spread = "" if math.isnan(mean.spread) else f" ± {mean.spread:.2g}"
    return f"{mean.value:.4g}{spread}"


def _crossing_lines(curves: Sequence[Curve], track: str) -> list[str]:
    """What happens on one track, and for which methods that is unknown."""
    known = [curve for curve in curves if curve.knows(track)]
    lines = crossings(known, track)
    if not lines and len(known) > 1:
        lines = ["no two methods change places."]
    lines += without_common_range(known, track)
    unknown = [curve.title for curve in curves if not curve.knows(track)]
    if unknown:
        lines.append(f"unknown for {', '.join(unknown)}, since {_UNKNOWN[track]}.")
    return [f"- {track}: {line}" for line in lines]


def _equal_spend_table(curves: Sequence[Curve]) -> str:
    """The metric at what the costliest method spends for the smallest budget, on each track."""
    spends = {
        track: max(curve.spent(track)[0] for curve in curves if curve.knows(track))
        for track in TRACKS
        if any(curve.knows(track) for curve in curves)
    }
    heads = [UNITS[track].format(spend) for track, spend in spends.items()]
    lines = [f"| quantizer | {' | '.join(heads)} |", f"|:--|{'--:|' * len(heads)}"]
    for curve in sorted(curves, key=lambda curve: curve.metric.cost(curve.values[0])):
        values = [curve.at(track, spend) for track, spend in spends.items()]
        cells = ["-" if value is None else f"{value:.4g}" for value in values]
        lines.append(f"| {curve.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _time_line(curves: Sequence[Curve]) -> str:
    timed = [record for curve in curves for row in curve.rows for record in curve.timed(row)]
    return (
        "Time is the median step times the steps, without warm-up and evaluation, of undisturbed "
        f"runs on {curves[0].timed_on}. {process_line(timed)}"
    )
