"""Methods over budgets, on three tracks: what a metric is after so many steps, seconds or FLOPs.

Each budget was trained on its own with its own schedule; no point is read off the middle of a
longer run. Between two budgets a metric is taken as linear in the logarithm of what was spent. Time
is the median step times the steps, so that neither warm-up nor evaluation counts. This module needs
no torch.
"""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.record import Record
from bench.report.comparison import Series, seed_series
from bench.report.rows import Row, build_rows
from bench.report.table import rank_metric
from bench.report.timing import machine, timed_records

TRACKS = ("steps", "wall-clock", "FLOPs")


@dataclass(frozen=True)
class Curve:
    """One method over budgets.

    Attributes:
        title: name and operating point.
        rows: one row a budget, the smallest first.
        metric: what is on the axis.
        timed_on: machine whose undisturbed runs give the time, the same for all curves of a
            family; None where no machine has some of every row of any curve.
    """

    title: str
    rows: tuple[Row, ...]
    metric: str
    timed_on: str | None

    def spent(self, track: str) -> list[float]:
        """What each budget cost: steps, seconds of training, or FLOPs; NaN where it is unknown."""
        return [self._spent(row, track) for row in self.rows]

    def knows(self, track: str) -> bool:
        """Whether it is known what each budget cost."""
        return not any(math.isnan(spend) for spend in self.spent(track))

    @property
    def values(self) -> list[float]:
        """The metric at each budget, mean over seeds."""
        return [row.metrics[self.metric].value for row in self.rows]

    def at(self, track: str, spend: float) -> float | None:
        """The metric at a spend between two budgets; None outside of them."""
        place = self._place(track, spend)
        if place is None:
            return None
        low, high, share = place
        start, end = (row.metrics[self.metric].value for row in (low, high))
        return start if low is high else start + share * (end - start)

    def series_at(self, track: str, spend: float) -> dict[int, Series | None]:
        """The same for each seed and without each group of test images; see `seed_series`."""
        place = self._place(track, spend)
        if place is None:
            return {}
        low, high, share = place
        starts, ends = (seed_series(row.records, self.metric) for row in (low, high))
        if low is high:
            return starts
        return {
            seed: _between(starts[seed], ends[seed], share)
            for seed in sorted(starts.keys() & ends.keys())
        }

    def timed(self, row: Row) -> list[Record]:
        """The runs of a row that give its time."""
        return [record for record in timed_records(row) if machine(record) == self.timed_on]

    def _place(self, track: str, spend: float) -> tuple[Row, Row, float] | None:
        """The budgets below and above a spend, twice the same where it is one, and how far on."""
        points = list(zip(self.spent(track), self.rows, strict=True))
        for known, row in points:
            if spend == known:
                return row, row, 0.0
        for (low, start), (high, end) in pairwise(points):
            if low < spend < high:
                return start, end, math.log(spend / low) / math.log(high / low)
        return None

    def _spent(self, row: Row, track: str) -> float:
        steps = row.records[0].protocol["steps"]
        if track == "steps":
            return float(steps)
        if track == "wall-clock":
            times = [record.timing["ms_per_step"] for record in self.timed(row)]
            return statistics.mean(times) * 1e-3 * steps if times else math.nan
        flops = row.first("budget", "train_step_flops")
        return float(flops * steps) if flops else math.nan


def curves(records: Sequence[Record]) -> list[Curve]:
    """The methods of one family that ended well under two budgets or more, by title."""
    metric = rank_metric(records[0])
    rows: dict[str, list[Row]] = {}
    for steps in sorted({record.protocol["steps"] for record in records}):
        group = [record for record in records if record.protocol["steps"] == steps]
        for row in build_rows(group, rank_by=metric):
            if row.competes and metric in row.metrics:
                rows.setdefault(row.title, []).append(row)
    several = {title: tuple(group) for title, group in sorted(rows.items()) if len(group) > 1}
    timed_on = _common_machine(several.values())
    return [Curve(title, group, metric, timed_on) for title, group in several.items()]


def _common_machine(groups: Iterable[Sequence[Row]]) -> str | None:
    """The machine with undisturbed runs of every row of most groups, and then with most runs."""
    complete, runs = Counter[str](), Counter[str]()
    for rows in groups:
        machines = [Counter(machine(record) for record in timed_records(row)) for row in rows]
        complete.update(set.intersection(*(set(count) for count in machines)))
        runs.update(sum(machines, Counter[str]()))
    return min(complete, key=lambda name: (-complete[name], -runs[name], name), default=None)


def _between(start: Series | None, end: Series | None, share: float) -> Series | None:
    if start is None or end is None or len(start) != len(end):
        return None
    return start + share * (end - start)
