"""Methods over budgets, on three tracks: what a metric is after so many steps, seconds or FLOPs.

Each budget was trained separately with its own schedule; no value comes from the middle of a longer
run. Between two budgets a metric is taken as linear in the logarithm of what was spent. Time is the
median step times the steps, without warm-up and evaluation. This module needs no torch.
"""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.record import Record, grouped
from bench.report.comparison import Series, seed_series
from bench.report.metric import Metric, rank_metric
from bench.report.rows import Row
from bench.report.table import Table
from bench.report.timing import machine, timed_records

TRACKS = ("steps", "wall-clock", "FLOPs")


@dataclass(frozen=True)
class Curve:
    """One method over budgets.

    Attributes:
        title: name and operating point.
        rows: one row per budget, the smallest first.
        metric: what is on the axis.
        timed_on: machine whose undisturbed runs give the time, the same for all curves of a
            family; None if no machine has such runs in every row of any curve.
    """

    title: str
    rows: tuple[Row, ...]
    metric: Metric
    timed_on: str | None

    def spent(self, track: str) -> list[float]:
        """What each budget cost: steps, seconds of training, or FLOPs; NaN where unknown."""
        return [self._spent(row, track) for row in self.rows]

    def knows(self, track: str) -> bool:
        """Whether the cost of every budget is known."""
        return not any(math.isnan(spend) for spend in self.spent(track))

    @property
    def values(self) -> list[float]:
        """The metric at each budget, mean over seeds."""
        return [row.metrics[self.metric.name].value for row in self.rows]

    def at(self, track: str, spend: float) -> float | None:
        """The metric at a spend between two budgets; None outside of them."""
        place = self._place(track, spend)
        if math.isnan(place):
            return None
        return float(np.interp(place, range(len(self.rows)), self.values))

    def series_at(self, track: str, spend: float) -> dict[int, Series | None]:
        """As `at`, for each seed and without each group of test images; see `seed_series`."""
        place = self._place(track, spend)
        if math.isnan(place):
            return {}
        low, high = math.floor(place), math.ceil(place)
        starts, ends = (seed_series(self.rows[i].records, self.metric.name) for i in (low, high))
        return {
            seed: _between(starts[seed], ends[seed], place - low)
            for seed in sorted(starts.keys() & ends.keys())
        }

    def timed(self, row: Row) -> list[Record]:
        """The runs of a row that give its time."""
        return [record for record in timed_records(row) if machine(record) == self.timed_on]

    def _place(self, track: str, spend: float) -> float:
        """Where a spend lies between the budgets: 0 at the first, 0.5 halfway to the second."""
        spends = np.log(self.spent(track))
        ends = {"left": math.nan, "right": math.nan}
        return float(np.interp(math.log(spend), spends, range(len(spends)), **ends))

    def _spent(self, row: Row, track: str) -> float:
        steps = row.records[0].protocol["steps"]
        if track == "steps":
            return float(steps)
        if track == "wall-clock":
            times = [record.timing["ms_per_step"] for record in self.timed(row)]
            return statistics.mean(times) * 1e-3 * steps if times else math.nan
        flops = row.first("budget", "train_step_flops")
        return float(flops * steps) if flops else math.nan


def curves_of(records: Sequence[Record]) -> list[Curve]:
    """The methods of one family that ended well under two budgets or more, by title."""
    metric = rank_metric(records[0].protocol)
    by_steps = grouped(records, lambda record: record.protocol["steps"])
    rows = [row for steps in sorted(by_steps) for row in Table.of(by_steps[steps]).rows]
    usable = [row for row in rows if row.competes and metric.name in row.metrics]
    by_title = grouped(usable, lambda row: row.title)
    several = {title: group for title, group in sorted(by_title.items()) if len(group) > 1}
    timed_on = _common_machine(several.values())
    return [Curve(title, tuple(group), metric, timed_on) for title, group in several.items()]


def _common_machine(groups: Iterable[Sequence[Row]]) -> str | None:
    """The machine with undisturbed runs of every row of most groups; ties by number of runs."""
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
