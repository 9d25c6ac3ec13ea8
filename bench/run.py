"""The main job: train and judge quantizers under one recipe, and write leaderboards.

    python -m bench.run quantizer=gsq,vq,fsq

Hydra composes the configuration, expands lists into jobs and launches them; see `--help`.
"""

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from bench.conf import plugins
from bench.conf import studies as study
from bench.conf.compose import explain
from bench.conf.schema import ConfigError, parse, register_schema
from bench.jobs.outcome import Outcome
from bench.jobs.process import ProcessDiedError, run_in_fresh_process

_SINGLE_SHOT = ("--cfg", "-c", "--help", "-h", "--hydra-help", "--info", "-i", "--version")
MOVE_NO_NUMBER = ("runs=", "leaderboards=", "tensorboard=", "retry=")
_CONF = str(Path(__file__).parent / "conf")
_INTERRUPTED = 130  # the shell's code for a program ended by Ctrl-C


@hydra.main(version_base="1.3", config_path=_CONF, config_name="config")
def _launch(cfg: DictConfig) -> None:
    """One job of the sweep; its outcome goes to a file, since a launcher may use processes."""
    sweep = HydraConfig.get()
    command = _command(sweep.overrides.task)
    try:
        outcome = run_in_fresh_process(_outcome, cfg, command)
    except ProcessDiedError as error:
        message = f"{error}; the same command continues: {command}"
        print(f"error: {message}", file=sys.stderr)
        outcome = Outcome(table="", status="died", message=message)
    folder = Path(sweep.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(outcome))
    (folder / f"{sweep.job.num}.outcome.json").write_text(text, encoding="utf-8")


def _outcome(cfg: DictConfig, command: str) -> Outcome:
    """Runs one job; whatever cannot be run is one line, and the other jobs go on."""
    from bench.conf.operating_point import NoOperatingPointError
    from bench.data import DataError
    from bench.jobs.prepare import prepare
    from bench.jobs.run_job import run_job
    from bench.provenance import flush_denormals

    flush_denormals()
    try:
        plugins.load(plugins.as_list(cfg.plugins))
        return run_job(prepare(parse(cfg), command))
    except NoOperatingPointError as error:
        print(f"skipped: {error}", file=sys.stderr)
        return Outcome(table="", status="skipped", message=str(error))
    except (ConfigError, DataError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return Outcome(table="", status="refused", message=str(error))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0, 1 for a failed run, 2 for a typo, 130 for Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    register_schema()
    try:
        plugins.load(plugins.requested(arguments))
        if any(argument.startswith(_SINGLE_SHOT) for argument in arguments):
            return _hydra(arguments)
        chosen, arguments = study.requested(arguments)
        code = _sweep(arguments, chosen.command_lines(arguments) if chosen else [arguments])
        page = _setting(arguments, "leaderboards") / f"study-{chosen.name}.md" if chosen else None
        if page and page.exists():
            print(f"written to {page}")
        return code
    except (HydraException, OmegaConfBaseException, ConfigError, study.StudyError) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(f"\n{str(error) or 'stopped'}; the same command continues", file=sys.stderr)
        return _INTERRUPTED


def _sweep(arguments: list[str], lines: list[list[str]]) -> int:
    """All jobs of some command lines, then the tables, also after a failed job or Ctrl-C."""
    runs = _setting(arguments, "runs")
    runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".sweep-", dir=runs) as folder:
        try:
            # With --multirun a mistake in an override gets Hydra's real message on 1.3.
            codes = [
                _hydra(["--multirun", *line, f"hydra.sweep.dir={folder}/{number:03}"])
                for number, line in enumerate(lines)
            ]
        finally:
            outcomes = [
                json.loads(path.read_text(encoding="utf-8"))
                for path in sorted(Path(folder).rglob("*.outcome.json"))
            ]
            _write_tables(_setting(arguments, "leaderboards"), outcomes)
    code = max(codes)
    if not outcomes and not code:
        raise ConfigError(f"nothing to run: {' '.join(arguments)} matches no choice; see --help")
    statuses = {outcome["status"] for outcome in outcomes}
    failed = statuses - {"ok", "collapsed", "skipped"} or statuses == {"skipped"}
    return code or int(bool(failed))


def _write_tables(folder: Path, outcomes: Sequence[dict[str, Any]]) -> None:
    from bench.leaderboard import build, show

    touched = dict.fromkeys(outcome["table"] for outcome in outcomes if outcome["table"])
    if touched:
        _, problems = build(folder)
        for line in problems:
            print(line, file=sys.stderr)
        show(folder, list(touched))


def _hydra(arguments: list[str]) -> int:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come here instead of being printed
    previous, sys.argv = sys.argv, ["bench.run", *arguments]
    try:
        _launch()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    finally:
        sys.argv = previous
    return 0


def _command(overrides: Sequence[str]) -> str:
    """What to type to run one job again."""
    kept = [override for override in overrides if not override.startswith(MOVE_NO_NUMBER)]
    return shlex.join(["python", "-m", "bench.run", *kept])


def _setting(arguments: Sequence[str], name: str) -> Path:
    """A folder given on the command line, or its default of the same name."""
    given = [a.partition("=")[2] for a in arguments if a.startswith(f"{name}=")]
    return Path(given[-1] if given else name)


if __name__ == "__main__":
    sys.exit(main())
