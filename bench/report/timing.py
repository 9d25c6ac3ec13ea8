"""Which step times can be compared: those of runs that had the machine to themselves.

This module needs no torch.
"""

import statistics
from collections.abc import Sequence

from bench.record import Record
from bench.report.rows import Row

QUIET = 0.9  # a step of `tiny` on a quiet machine keeps its threads busy for 0.98 of the time


def step_times(row: Row) -> list[float]:
    """Milliseconds a step of each run whose time is known and undisturbed."""
    times = [r.timing.get("ms_per_step") for r in row.records if not is_disturbed(r)]
    return [time for time in times if time is not None]  # none where a run resumed at its end


def is_disturbed(record: Record) -> bool:
    """Whether other work took the processor's time from a run; unknown counts as no."""
    share = record.timing.get("processor_share")
    return share is not None and share < QUIET


def timing_lines(rows: Sequence[Row]) -> list[str]:
    """How many step times are left out, and why."""
    records = [record for row in rows for record in row.records]
    shares = [record.timing["processor_share"] for record in records if is_disturbed(record)]
    if not shares:
        return []
    return [
        f"ms/step is of undisturbed runs alone: {len(shares)} of {len(records)} got less than "
        f"{QUIET:.0%} of their threads' processor time (median {statistics.median(shares):.0%})."
    ]
