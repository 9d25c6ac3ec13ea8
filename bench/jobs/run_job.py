"""One job of a sweep: skips a finished run, continues an unfinished one, writes a record."""

import sys
import time

from bench.atomic_files import write_text
from bench.jobs.attempt import attempt
from bench.jobs.outcome import Outcome
from bench.jobs.prepare import Job
from bench.record import Record, next_attempt, read_record, table_name, write_record
from bench.training.checkpoint import remove_checkpoint
from bench.training.compilation import check_compiler


def run_job(job: Job) -> Outcome:
    """Skips a finished run or continues an unfinished one; success and failure leave a record.

    Raises:
        UsageError: compile=true, and this machine cannot compile; this leaves no record.
    """
    table = table_name(job.protocol)
    finished = job.directory / "record.json"
    if finished.exists():
        record = read_record(finished)
        if not (job.config.retry and _failed(record.status)):
            _publish_again(job, record)
            hint = "; type retry=true to run it again" if _failed(record.status) else ""
            message = f"{job.label}: already finished, {record.status} {record.reason}".rstrip()
            _say(message + hint)
            return Outcome(table, record.status, message)
    started = time.perf_counter()
    if job.config.compile:
        _say(f"{job.label}: compile=true, so the first steps wait for the compiler")
        check_compiler(job.device)
    record = attempt(job)
    path = write_record(job.records, record)
    write_text(finished, path.read_text(encoding="utf-8"))
    if not _failed(record.status):
        remove_checkpoint(job.directory)
    message = f"{job.label}: {record.status} {record.reason}".rstrip()
    _say(f"{message} ({time.perf_counter() - started:.0f} s{_compiling(record)})")
    if record.status == "error":
        _say(f"{job.label}: traceback in {job.directory / 'error.txt'}")
    return Outcome(table, record.status, message)


def _publish_again(job: Job, record: Record) -> None:
    """Copies the record of a finished run to a folder of records that has none of that run."""
    if next_attempt(job.records, job.run) == 1:
        write_record(job.records, record)


def _compiling(record: Record) -> str:
    seconds = record.timing.get("compile_seconds")
    return "" if seconds is None else f", {seconds:.0f} s of them compiling"


def _failed(status: str) -> bool:
    return status not in ("ok", "collapsed")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
