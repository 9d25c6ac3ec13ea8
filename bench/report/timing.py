"""Which step times can be compared: those of runs that had the machine to themselves.

This module needs no torch.
"""

import statistics
from collections.abc import Iterable, Sequence

from bench.record import Record
from bench.report.rows import Row

QUIET = 0.9  # a step of `tiny` on a quiet machine keeps its threads busy for 0.98 of the time


def step_times(row: Row) -> list[float]:
    """Milliseconds a step of each run whose time is known and undisturbed.

    Of runs with different numbers of threads, those with the most common number count.
    """
    timed = timed_records(row)
    common = statistics.multimode(record.environment.get("threads") for record in timed)
    return [r.timing["ms_per_step"] for r in timed if r.environment.get("threads") in common[:1]]


def timed_records(row: Row) -> list[Record]:
    """The runs whose time is known and undisturbed; one that resumed at its end has none."""
    return [
        record
        for record in row.records
        if record.timing.get("ms_per_step") is not None and not is_disturbed(record)
    ]


def machine(record: Record) -> str:
    """Name of the device and, of a processor, how many threads worked: what a time depends on."""
    device, threads = record.environment["device"], record.environment.get("threads")
    if record.protocol["device"] != "cpu" or threads is None:
        return str(device)
    return f"{device}, {threads} thread{'s' if threads > 1 else ''}"


def is_disturbed(record: Record) -> bool:
    """Whether other work took the processor's time from a run; unknown counts as no."""
    share = record.timing.get("processor_share")
    return share is not None and share < QUIET


def process_line(records: Iterable[Record]) -> str:
    """Of how many timed runs the time is that of a process which no other run had used."""
    timed = list(records)
    fresh = sum(bool(record.timing.get("fresh_process")) for record in timed)
    if fresh == len(timed):
        return "Every timed run had a process of its own."
    return (
        f"{fresh} of {len(timed)} timed runs had a process of their own; the others may have "
        "shared one with runs of the same command."
    )


def timing_lines(rows: Sequence[Row]) -> list[str]:
    """Which step times a table shows: how many are left out and why, of which processes, and how
    long compilation took beside them.
    """
    records = [record for row in rows for record in row.records]
    timed = [record for row in rows for record in timed_records(row)]
    process = [process_line(timed)] if timed else []
    return [*_disturbed_line(records), *process, *_compiled_line(records)]


def _disturbed_line(records: Sequence[Record]) -> list[str]:
    shares = [record.timing["processor_share"] for record in records if is_disturbed(record)]
    if not shares:
        return []
    return [
        f"ms/step is of undisturbed runs alone: {len(shares)} of {len(records)} got less than "
        f"{QUIET:.0%} of their threads' processor time (median {statistics.median(shares):.0%})."
    ]


def _compiled_line(records: Sequence[Record]) -> list[str]:
    seconds = [r.timing["compile_seconds"] for r in records if "compile_seconds" in r.timing]
    if not seconds:
        return []
    return [
        "The frame went through torch.compile. ms/step is without compilation, which took "
        f"{statistics.median(seconds):.0f} s of a run (median), less where torch's cache helped."
    ]
