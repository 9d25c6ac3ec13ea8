"""What a launcher of Hydra runs for one job of a sweep; needs no torch until a job starts."""

import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from bench.conf import plugins
from bench.conf.schema import moves_no_number, parse
from bench.jobs.outcome import Outcome
from bench.jobs.process import ProcessDiedError, run_in_fresh_process

if TYPE_CHECKING:
    from bench.jobs.prepare import Job


def train(cfg: DictConfig, overrides: Sequence[str]) -> Outcome:
    """One run of `bench.run`, in a process of its own."""
    command = command_of("bench.run", overrides)
    try:
        return run_in_fresh_process(settle, _run_job, cfg, command)
    except ProcessDiedError as error:
        return _without_record("died", f"{error}; the same command continues: {command}")


def settle(task: Callable[["Job"], Outcome], cfg: DictConfig, command: str) -> Outcome:
    """Prepares a job and runs it. A job that cannot run is one line, and the other jobs go on."""
    from bench.conf.operating_point import NoOperatingPointError
    from bench.jobs.prepare import prepare
    from bench.provenance import flush_denormals

    flush_denormals()
    try:
        plugins.load(plugins.as_list(cfg.plugins))
        return task(prepare(parse(cfg), command))
    except NoOperatingPointError as error:
        return _without_record("skipped", str(error))
    except (OSError, ValueError) as error:  # among them DataError and UsageError
        return _without_record("refused", str(error))


def command_of(module: str, overrides: Sequence[str]) -> str:
    """What to type to run one job again."""
    return shlex.join(["python", "-m", module, *(o for o in overrides if not moves_no_number(o))])


def _run_job(job: "Job") -> Outcome:
    from bench.jobs.run_job import run_job

    return run_job(job)


def _without_record(status: str, message: str) -> Outcome:
    print(f"{'skipped' if status == 'skipped' else 'error'}: {message}", file=sys.stderr)
    return Outcome(table="", status=status, message=message)
