"""Methods under several budgets: curves, crossings, and equal time instead of equal steps.

Each budget was trained on its own with its own schedule; no point is read off the middle of a
longer run. Between two budgets a metric is taken as linear in the logarithm of what was spent. Time
is the median step times the steps, so that neither warm-up nor evaluation counts. This module needs
no torch.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from bench.record import Record, canonical_sha256
from bench.report.comparison import SIGNIFICANCE, cost, difference
from bench.report.footnotes import metric_name
from bench.report.rows import Row, build_rows
from bench.report.table import rank_metric
from bench.report.timing import process_line, step_times

_OF_A_BUDGET = ("budget", "budget_factor", "steps", "sha256")  # of a protocol
TRACKS = ("steps", "wall-clock", "FLOPs")


@dataclass(frozen=True)
class Curve:
    """One method over budgets.

    Attributes:
        title: name and operating point.
        rows: one row a budget, the smallest first.
        metric: what is on the axis.
    """

    title: str
    rows: tuple[Row, ...]
    metric: str

    def spent(self, track: str) -> list[float]:
        """What each budget cost: steps, seconds of training, or FLOPs."""
        return [_spent(row, track) for row in self.rows]

    @property
    def values(self) -> list[float]:
        """The metric at each budget, mean over seeds."""
        return [row.metrics[self.metric].value for row in self.rows]

    def at(self, track: str, spend: float) -> float | None:
        """The metric at a spend between two budgets; None outside of them."""
        points = list(zip(self.spent(track), self.values, strict=True))
        for (low, start), (high, end) in pairwise(points):
            if low <= spend <= high:
                share = math.log(spend / low) / math.log(high / low)
                return start + share * (end - start)
        return None


def page(records: Sequence[Record]) -> str | None:
    """Markdown of all families of runs that have several budgets; None where there are none."""
    sections = [section for group in _families(records) if (section := _section(group))]
    if not sections:
        return None
    return "# Budgets\n\n" + "\n\n".join(sections) + "\n"


def _families(records: Iterable[Record]) -> list[list[Record]]:
    """Records that share everything but their budget, where there are at least two budgets."""
    found: dict[str, list[Record]] = {}
    for record in records:
        shared = {k: v for k, v in record.protocol.items() if k not in _OF_A_BUDGET}
        found.setdefault(canonical_sha256(shared), []).append(record)
    return [
        group for _, group in sorted(found.items()) if len({r.protocol["steps"] for r in group}) > 1
    ]


def curves(records: Sequence[Record]) -> list[Curve]:
    """The methods of one family that ended well under two budgets or more, by title."""
    metric = rank_metric(records[0])
    rows: dict[str, list[Row]] = {}
    for steps in sorted({record.protocol["steps"] for record in records}):
        group = [record for record in records if record.protocol["steps"] == steps]
        for row in build_rows(group, rank_by=metric):
            if row.competes and metric in row.metrics:
                rows.setdefault(row.title, []).append(row)
    return [
        Curve(title, tuple(group), metric)
        for title, group in sorted(rows.items())
        if len(group) > 1
    ]


def crossings(found: Sequence[Curve]) -> list[str]:
    """A line for every pair whose order differs between two neighbouring budgets."""
    lines = []
    for one, other in combinations(found, 2):
        for (a, b), (c, d) in pairwise(_shared(one, other)):
            before, after = _advantage(a, b, one.metric), _advantage(c, d, one.metric)
            if before * after < 0:
                share = before / (before - after)
                low, high = _spent(a, "steps"), _spent(c, "steps")
                first, second = (one, other) if before > 0 else (other, one)
                clear = _clear(a, b, one.metric) and _clear(c, d, one.metric)
                lines.append(
                    f"- {first.title} leads at {low:g} steps, {second.title} at {high:g}: they "
                    f"cross near {low * (high / low) ** share:.0f} steps"
                    + ("." if clear else "; not resolved, one of the two orders may be chance.")
                )
    return lines


def _section(records: Sequence[Record]) -> str | None:
    found = curves(records)
    if not found:
        return None
    protocol = records[0].protocol
    budgets = sorted({row.records[0].protocol["steps"] for curve in found for row in curve.rows})
    lines = [
        f"## {protocol['recipe']['name']} on {protocol['data']['name']}, {protocol['rate']:g} bits "
        f"per position, {protocol['device']}, {protocol['ruleset']} hyper-parameters",
        "",
        f"{metric_name(found[0].metric)} under each budget, mean and standard deviation over "
        "seeds, of rows that are fair and ended well:",
        "",
        f"| quantizer | {' | '.join(f'{steps} steps' for steps in budgets)} | seeds |",
        f"|:--|{'--:|' * len(budgets)}:--|",
        *(_curve_line(curve, budgets) for curve in found),
        "",
        *(crossings(found) or ["No two methods change places between these budgets."]),
        "",
        *_tracks(found),
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


def _tracks(found: Sequence[Curve]) -> list[str]:
    """The metric at equal spend: what the costliest method spends under the smallest budget."""
    machines = sorted({record.environment["device"] for record in _records(found)})
    tracks = [track for track in TRACKS if all(_known(curve, track) for curve in found)]
    if len(machines) > 1 and "wall-clock" in tracks:
        tracks.remove("wall-clock")
    spends = {track: max(curve.spent(track)[0] for curve in found) for track in tracks}
    units = {"steps": "{:g} steps", "wall-clock": "{:.1f} s of training", "FLOPs": "{:.3g} FLOPs"}
    heads = [units[track].format(spends[track]) for track in tracks]
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
    lines.append("")
    if len(machines) > 1:
        lines.append(f"No time is compared between machines: {'; '.join(machines)}.")
    elif "wall-clock" in tracks:
        lines.append(
            f"Time is the median step times the steps, on {machines[0]}, without warm-up and "
            f"evaluation. {process_line(_records(found))}"
        )
    else:
        lines.append("Time is unknown: every run of a method resumed or shared the processor.")
    return lines


def _records(found: Iterable[Curve]) -> list[Record]:
    return [record for curve in found for row in curve.rows for record in row.records]


def _shared(one: Curve, other: Curve) -> list[tuple[Row, Row]]:
    theirs = {row.records[0].protocol["steps"]: row for row in other.rows}
    pairs = [(row, theirs.get(row.records[0].protocol["steps"])) for row in one.rows]
    return [(row, their) for row, their in pairs if their is not None]


def _advantage(one: Row, other: Row, metric: str) -> float:
    """How much better the first is; positive is better."""
    return cost(other.metrics[metric].value, metric) - cost(one.metrics[metric].value, metric)


def _clear(one: Row, other: Row, metric: str) -> bool:
    found = difference(one.records, other.records, metric)
    return found is not None and found.p < SIGNIFICANCE  # False for the NaN of a single seed


def _spent(row: Row, track: str) -> float:
    steps = row.records[0].protocol["steps"]
    if track == "steps":
        return float(steps)
    if track == "wall-clock":
        times = step_times(row)
        return statistics.mean(times) * 1e-3 * steps if times else math.nan
    mean = row.mean("budget", "train_step_flops")
    return mean.value * steps if mean else math.nan


def _known(curve: Curve, track: str) -> bool:
    return not any(math.isnan(spend) for spend in curve.spent(track))
