"""Chooses hyper-parameters of each quantizer in the same number of trials, then judges the choice.

    python -m bench.tune quantizer=gsq,fsq trials=5 [seeds=2000,2001,2002]
                         [other options of bench.run, one value each]

The space of a method stands in its YAML under `tune`. Its first trial is the published setting, the
others are quasi-random: a scrambled Sobol sequence of Optuna. Trial t, counted from 0, has seed
1000 + t for every method, trains without the held-out quarter of the training images and is judged
on it. The best setting then trains on all training images, with seeds that no trial had, and is
judged on the test images in a table of its own: `ruleset=tuned`. A method without a space keeps its
published setting and still takes its trials: they show how much of a best of k is luck with seeds.

Writes trials to `leaderboards/trials` and the summary to `leaderboards/tuning.md`. Prints progress,
that summary, and the table of the judged choices.
"""

import contextlib
import fnmatch
import functools
import io
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.atomic_files import write_text
from bench.command_line import did_you_mean
from bench.conf.quantizer_yaml import FOLDER, quantizer_yaml
from bench.jobs.protocol import VERSION
from bench.provenance import evaluation_code_sha256
from bench.record import Record
from bench.report.tuning import GENERATED, Trials, page, read_trials, typed_beside
from bench.run import MOVE_NO_NUMBER
from bench.run import main as run

FIRST_TRIAL_SEED = 1000
SEEDS = "2000,2001,2002"
_OPTIONS = ("quantizer", "trials", "seeds", "leaderboards", "runs")
_NOT_HERE = ("seed", "split", "ruleset", "study")


class TuneError(ValueError):
    """What the user typed cannot be tuned; the message says what to type instead."""


@dataclass(frozen=True)
class Request:
    """What a command line asks for."""

    quantizers: tuple[str, ...]
    trials: int
    seeds: str
    leaderboards: Path
    runs: Path
    others: tuple[str, ...]


def parse(arguments: Sequence[str]) -> Request:
    """Reads a command line.

    Raises:
        TuneError: an unknown quantizer, a bad number, or an option that tuning itself decides.
    """
    given = {name: value for name, _, value in (a.partition("=") for a in arguments)}
    for name in _NOT_HERE:
        if name in given:
            raise TuneError(f"bench.tune sets {name}= itself; type seeds= for the final seeds")
    others = tuple(a for a in arguments if a.partition("=")[0] not in _OPTIONS)
    for argument in others:
        if "," in argument and "[" not in argument:
            raise TuneError(f"bench.tune takes one value at a time, got {argument}")
        if argument.startswith(("quantizer.", "plugins=")):
            raise TuneError(f"bench.tune takes hyper-parameters from YAML alone, got {argument}")
    trials = given.get("trials", "5")
    if not trials.isdigit() or int(trials) < 1:
        raise TuneError(f"trials must be a whole number of at least 1, got {trials!r}")
    return Request(
        quantizers=_matching(given.get("quantizer", "")),
        trials=int(trials),
        seeds=_fresh_seeds(given.get("seeds", SEEDS), int(trials)),
        leaderboards=Path(given.get("leaderboards", "leaderboards")),
        runs=Path(given.get("runs", "runs")),
        others=others,
    )


def _matching(patterns: str) -> tuple[str, ...]:
    """The quantizers of a list of names and patterns, also as Hydra's `glob(...)`."""
    known = [path.stem for path in FOLDER.glob("*.yaml")]
    names: list[str] = []
    for pattern in patterns.removeprefix("glob(").removesuffix(")").split(","):
        matching = sorted(fnmatch.filter(known, pattern))
        if not matching:
            raise TuneError(did_you_mean("quantizer", pattern, known))
        names += matching
    return tuple(dict.fromkeys(names))


def _fresh_seeds(seeds: str, trials: int) -> str:
    """The seeds of the final runs, none of which a trial has."""
    if not all(part.isdigit() for part in seeds.split(",")):
        raise TuneError(f"seeds must be whole numbers like {SEEDS}, got {seeds!r}")
    if any(0 <= int(part) - FIRST_TRIAL_SEED < trials for part in seeds.split(",")):
        raise TuneError(f"seeds {FIRST_TRIAL_SEED} and following are those of trials, got {seeds}")
    return seeds


def settings(quantizer: str, trials: int) -> list[dict[str, Any]]:
    """The hyper-parameters of each trial; the first is empty: the published setting."""
    import optuna

    ranges = quantizer_yaml(quantizer).get("tune", {})
    space = {name: _distribution(range_) for name, range_ in ranges.items()}
    if not space:
        return [{}] * trials
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=0)
        study = optuna.create_study(sampler=sampler)
        # Optuna draws the first of a study at random; the published setting takes its place.
        drawn = [study.ask(space).params for _ in range(trials)][1:]
    return [{}, *({name: _rounded(value) for name, value in one.items()} for one in drawn)]


def tune(request: Request) -> int:
    """Runs all trials, then the chosen settings; returns the exit code of the final runs."""
    boards = request.leaderboards / "trials"
    for quantizer in request.quantizers:
        for number, setting in enumerate(settings(quantizer, request.trials)):
            code = _run_quietly(
                [
                    *_typed(quantizer, setting),
                    *request.others,
                    f"runs={request.runs}",
                    f"seed={FIRST_TRIAL_SEED + number}",
                    "split=tune",
                    f"leaderboards={boards}",
                ]
            )
            if code > 1:  # a typo or Ctrl-C: no other trial would fare better
                return code
    _write_summary(request.leaderboards / "tuning.md", boards)
    return _judge_choices(request, _complete_trials(request, boards))


def _run_quietly(arguments: list[str]) -> int:
    """A run that shows its progress, but not a table that the next run would print again."""
    with contextlib.redirect_stdout(io.StringIO()):
        return run(arguments)


def _write_summary(path: Path, boards: Path) -> None:
    text = page(read_trials(boards))
    write_text(path, text)
    print(f"\n{text.removeprefix(GENERATED)}\nwritten to {path}\n")


def _complete_trials(request: Request, boards: Path) -> list[Trials]:
    """The trials of this command, as many for each quantizer.

    Raises:
        TuneError: there are fewer, or those of two protocols.
    """
    found = read_trials(boards, functools.partial(_belongs, request))
    chosen = [trials for trials in found if trials.quantizer in request.quantizers]
    counts = {trials.quantizer: len(trials.records) for trials in chosen}
    if len(counts) < len(chosen) or counts != dict.fromkeys(request.quantizers, request.trials):
        raise TuneError(
            f"expected {request.trials} trials of each of {', '.join(request.quantizers)} under "
            f"one protocol in {boards}, found {counts}; move older ones away"
        )
    return chosen


def _judge_choices(request: Request, chosen: Sequence[Trials]) -> int:
    """Trains each chosen setting on all training images, with fresh seeds; the last run prints."""
    worst = 0
    for trials in chosen:
        last = trials is chosen[-1]
        code = (run if last else _run_quietly)(
            [
                *_typed(trials.quantizer, trials.setting(trials.chosen)),
                *request.others,
                f"runs={request.runs}",
                f"seed={request.seeds}",
                "ruleset=tuned",
                f"trials={request.trials}",
                f"leaderboards={request.leaderboards}",
            ]
        )
        worst = max(worst, code)
        if code > 1:
            return code
    return worst


def _belongs(request: Request, record: Record) -> bool:
    """Whether a record is a trial of this command: its number, what was typed, today's judge."""
    typed = [argument for argument in request.others if not argument.startswith(MOVE_NO_NUMBER)]
    return (
        0 <= record.seed - FIRST_TRIAL_SEED < request.trials
        and typed_beside(record) == sorted(typed)
        and record.protocol["version"] == VERSION
        and record.protocol["evaluation_code"] == evaluation_code_sha256()
    )


def _typed(quantizer: str, setting: dict[str, Any]) -> list[str]:
    """A quantizer with some hyper-parameters, as `bench.run` reads it."""
    return [f"quantizer={quantizer}", *(f"quantizer.{key}={v}" for key, v in setting.items())]


def _distribution(range_: dict[str, Any]) -> Any:
    """One line of a YAML's `tune` as Optuna has it: `{low, high, log}` or `{choices}`."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if "choices" in range_:
        return CategoricalDistribution(range_["choices"])
    return FloatDistribution(range_["low"], range_["high"], log=range_["log"])


def _rounded(value: Any) -> Any:
    """A drawn number as a person would type it, and as a row's name shows it."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    if any(argument in ("-h", "--help") for argument in arguments):
        print(__doc__)
        return 0
    try:
        return tune(parse(arguments))
    except (TuneError, ImportError) as error:
        hint = "; install it: uv sync --extra tune" if isinstance(error, ImportError) else ""
        print(f"error: {error}{hint}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
