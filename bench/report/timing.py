"""Step times that can be compared: of runs that had the machine to themselves. No torch."""

import statistics
from collections.abc import Iterable, Sequence

from bench.record import Record
from bench.report.rows import Row

MIN_PROCESSOR_SHARE = 0.9  # on an idle machine the threads of `tiny` are busy 0.98 of the time


def step_times(row: Row) -> list[float]:
    """Milliseconds per step of each undisturbed run with a known time.

    If the number of threads differs between runs, only runs with the most common number count.
    """
    timed = timed_records(row)
    common = statistics.multimode(record.environment.get("threads") for record in timed)
    return [r.timing["ms_per_step"] for r in timed if r.environment.get("threads") in common[:1]]


def timed_records(row: Row) -> list[Record]:
    """The undisturbed runs with a known time; a run that resumed at its last step has none."""
    return [
        record
        for record in row.records
        if record.timing.get("ms_per_step") is not None and not is_disturbed(record)
    ]


def machine(record: Record) -> str:
    """What a time depends on: the name of the device and, for a CPU, the number of threads."""
    device, threads = record.environment["device"], record.environment.get("threads")
    if record.protocol["device"] != "cpu" or threads is None:
        return str(device)
    return f"{device}, {threads} thread{'s' if threads > 1 else ''}"


def is_disturbed(record: Record) -> bool:
    """Whether other work took processor time from a run; unknown counts as no."""
    share = record.timing.get("processor_share")
    return share is not None and share < MIN_PROCESSOR_SHARE


def process_line(records: Iterable[Record]) -> str:
    """How many of the timed runs had a process that no other run had used."""
    timed = list(records)
    fresh = sum(bool(record.timing.get("fresh_process")) for record in timed)
    if fresh == len(timed):
        return "Every timed run had its own process."
    return (
        f"{fresh} of {len(timed)} timed runs had their own process; the others may have shared one "
        "with runs of the same command."
    )


def timing_lines(rows: Sequence[Row]) -> list[str]:
    """What a table's step times are: which runs they leave out, which processes, compilation."""
    records = [record for row in rows for record in row.records]
    timed = [record for row in rows for record in timed_records(row)]
    process = [process_line(timed)] if timed else []
    return [*_disturbed_line(records), *process, *_compiled_line(records)]


def _disturbed_line(records: Sequence[Record]) -> list[str]:
    shares = [record.timing["processor_share"] for record in records if is_disturbed(record)]
    if not shares:
        return []
    return [
        f"ms/step comes from undisturbed runs only: {len(shares)} of {len(records)} got less than "
        f"{MIN_PROCESSOR_SHARE:.0%} of their threads' processor time (median "
        f"{statistics.median(shares):.0%})."
    ]


def _compiled_line(records: Sequence[Record]) -> list[str]:
    seconds = [r.timing["compile_seconds"] for r in records if "compile_seconds" in r.timing]
    if not seconds:
        return []
    return [
        "The frame was compiled by torch.compile. ms/step excludes compilation, which took "
        f"{statistics.median(seconds):.0f} s per run (median), less where torch's cache helped."
    ]
