"""The main job: trains and judges quantizers under one recipe, and writes leaderboards.

    python -m bench.run quantizer=gsq,vq,fsq

Hydra composes the configuration, expands lists into jobs and launches them; see `--help`.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.command_line import DONE, FAILED, Options, UsageError, run_command
from bench.conf import compose, studies
from bench.jobs.launch import train
from bench.jobs.outcome import Outcome

_FLAGS = {"--cfg", "-c", "--help", "-h", "--hydra-help", "--info", "-i", "--version"}  # of Hydra


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0, 1 for a failed run, 2 for a typo, 130 for Ctrl-C."""
    return run_command(_run, help=None, defaults={}, arguments=arguments, takes=lambda word: True)


def _run(options: Options) -> int:
    arguments = options.others
    if any(word.partition("=")[0] in _FLAGS for word in arguments):
        return compose.show(arguments)
    return sweep(arguments)


def sweep(arguments: Sequence[str], *, show: bool = True) -> int:
    """Runs all jobs of a command line and writes their tables; returns the command's exit code.

    Args:
        arguments: as typed after `python -m bench.run`.
        show: whether to print the tables.

    Raises:
        UsageError: an argument is unknown or wrong, or there is nothing to run.
        KeyboardInterrupt: Ctrl-C; the tables of the jobs that ended are written.
    """
    study, arguments = studies.requested(arguments)
    code = run_jobs(train, study.command_lines(arguments) if study else [arguments], show=show)
    page = _folder(arguments, "leaderboards") / f"study-{study.name}.md" if study else None
    if page and page.exists():
        print(f"written to {page}")
    return code


def run_jobs(
    job: Callable[..., Outcome], command_lines: Sequence[Sequence[str]], *, show: bool = True
) -> int:
    """Runs a job for every combination of values on some command lines; see `sweep`."""
    runs = _folder(command_lines[0], "runs")
    runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".sweep-", dir=runs) as folder:
        try:
            compose.sweep(job, command_lines, Path(folder))
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(f"{error or 'stopped'}; the same command continues") from None
        finally:
            outcomes = [Outcome(**outcome) for outcome in compose.outcomes(Path(folder))]
            _write_tables(_folder(command_lines[0], "leaderboards"), outcomes, show=show)
    if not outcomes:
        typed = " ".join(command_lines[0])
        raise UsageError(f"nothing to run: {typed} matches no choice; see --help")
    statuses = {outcome.status for outcome in outcomes}
    failed = statuses - {"ok", "collapsed", "skipped"} or statuses == {"skipped"}
    return FAILED if failed else DONE


def _write_tables(folder: Path, outcomes: Sequence[Outcome], *, show: bool) -> None:
    from bench import leaderboard

    tables = dict.fromkeys(outcome.table for outcome in outcomes if outcome.table)
    if tables:
        _, problems = leaderboard.build(folder)
        for line in problems:
            print(line, file=sys.stderr)
        if show:
            leaderboard.show(folder, list(tables))


def _folder(arguments: Sequence[str], name: str) -> Path:
    """A folder given on the command line, or its default of the same name."""
    given = [word.partition("=")[2] for word in arguments if word.startswith(f"{name}=")]
    return Path(given[-1] if given else name)


if __name__ == "__main__":
    sys.exit(main())
