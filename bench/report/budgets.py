"""Methods under several budgets: curves, crossings, and equal time instead of equal steps.

See `bench.report.curves` for what lies between two budgets. This module needs no torch.
"""

import math
from collections.abc import Iterable, Sequence

from bench.record import Record, canonical_sha256
from bench.report.budgets_plot import svg
from bench.report.comparison import cost
from bench.report.crossings import UNITS, crossings, without_common_range
from bench.report.curves import TRACKS, Curve, curves
from bench.report.footnotes import metric_name
from bench.report.timing import process_line

PICTURE = "budgets.svg"  # holds `drawing`, beside the page
_OF_A_BUDGET = ("budget", "budget_factor", "steps", "sha256")  # of a protocol
_UNKNOWN = {
    "wall-clock": "the machine that timed the others, if any, has no undisturbed run of each row",
    "FLOPs": "its records do not hold them",
}


def page(records: Sequence[Record]) -> str | None:
    """Markdown of all families of runs that have several budgets; None where there are none."""
    found = _sections(records)
    if not found:
        return None
    shown = f"![{metric_name(found[0][1][0].metric)} over steps, time and FLOPs]({PICTURE})"
    sections = [_section(group, of_group) for group, of_group in found]
    return "\n\n".join(["# Budgets", shown, *sections]) + "\n"


def drawing(records: Sequence[Record]) -> str | None:
    """The curves of all families as SVG text, or None where there are none."""
    found = _sections(records)
    return svg({_title(group[0]): of_group for group, of_group in found}) if found else None


def _sections(records: Sequence[Record]) -> list[tuple[list[Record], list[Curve]]]:
    """Families with at least one curve."""
    return [(group, found) for group in _families(records) if (found := curves(group))]


def _families(records: Iterable[Record]) -> list[list[Record]]:
    """Records that share everything but their budget, where there are at least two budgets."""
    found: dict[str, list[Record]] = {}
    for record in records:
        shared = {k: v for k, v in record.protocol.items() if k not in _OF_A_BUDGET}
        found.setdefault(canonical_sha256(shared), []).append(record)
    return [
        group for _, group in sorted(found.items()) if len({r.protocol["steps"] for r in group}) > 1
    ]


def _title(record: Record) -> str:
    protocol = record.protocol
    return (
        f"{protocol['recipe']['name']} on {protocol['data']['name']}, {protocol['rate']:g} bits "
        f"per position, {protocol['device']}, {protocol['ruleset']} hyper-parameters"
    )


def _section(records: Sequence[Record], found: Sequence[Curve]) -> str:
    budgets = sorted({row.records[0].protocol["steps"] for curve in found for row in curve.rows})
    lines = [
        f"## {_title(records[0])}",
        "",
        f"{metric_name(found[0].metric)} under each budget, mean and standard deviation over "
        "seeds, of rows that are fair and ended well:",
        "",
        f"| quantizer | {' | '.join(f'{steps} steps' for steps in budgets)} | seeds |",
        f"|:--|{'--:|' * len(budgets)}:--|",
        *(_curve_line(curve, budgets) for curve in found),
        "",
        "Who changes places between these budgets, on each track:",
        "",
        *(line for track in TRACKS for line in _crossing_lines(found, track)),
        "",
        *_equal_spend(found),
    ]
    return "\n".join(lines)


def _curve_line(curve: Curve, budgets: Sequence[int]) -> str:
    by_steps = {row.records[0].protocol["steps"]: row for row in curve.rows}
    cells = []
    for steps in budgets:
        mean = by_steps[steps].metrics[curve.metric] if steps in by_steps else None
        spread = f" ± {mean.spread:.2g}" if mean and not math.isnan(mean.spread) else ""
        cells.append(f"{mean.value:.4g}{spread}" if mean else "")
    seeds = " / ".join(str(len(row.records)) for row in curve.rows)
    return f"| {curve.title} | {' | '.join(cells)} | {seeds} |"


def _crossing_lines(found: Sequence[Curve], track: str) -> list[str]:
    """What happens on one track, and of which methods that is unknown."""
    known = [curve for curve in found if curve.knows(track)]
    lines = crossings(known, track)
    if not lines and len(known) > 1:
        lines = ["no two methods change places."]
    lines += without_common_range(known, track)
    unknown = [curve.title for curve in found if not curve.knows(track)]
    if unknown:
        lines.append(f"unknown for {', '.join(unknown)}, since {_UNKNOWN[track]}.")
    return [f"- {track}: {line}" for line in lines]


def _equal_spend(found: Sequence[Curve]) -> list[str]:
    """The metric at equal spend: what the costliest method spends under the smallest budget."""
    tracks = [track for track in TRACKS if any(curve.knows(track) for curve in found)]
    spends = {
        track: max(curve.spent(track)[0] for curve in found if curve.knows(track))
        for track in tracks
    }
    heads = [UNITS[track].format(spends[track]) for track in tracks]
    lines = [
        f"{metric_name(found[0].metric)} at equal spend, which is what the costliest method needs "
        "for the smallest budget:",
        "",
        f"| quantizer | {' | '.join(heads)} |",
        f"|:--|{'--:|' * len(heads)}",
    ]
    for curve in sorted(found, key=lambda curve: cost(curve.values[0], curve.metric)):
        values = [curve.at(track, spends[track]) for track in tracks]
        cells = ["-" if value is None else f"{value:.4g}" for value in values]
        lines.append(f"| {curve.title} | {' | '.join(cells)} |")
    if "wall-clock" in tracks:
        lines += ["", _time_line(found)]
    return lines


def _time_line(found: Sequence[Curve]) -> str:
    timed = [record for curve in found for row in curve.rows for record in curve.timed(row)]
    return (
        "Time is the median step times the steps, without warm-up and evaluation, of undisturbed "
        f"runs on {found[0].timed_on}. {process_line(timed)}"
    )
