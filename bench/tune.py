"""Chooses hyper-parameters of each quantizer in the same number of trials, then judges the choice.

    python -m bench.tune quantizer=gsq,fsq trials=5 [seeds=2000,2001,2002]
                         [other options of bench.run, one value each]

The space of a method is in its YAML under `tune`. Its first trial is the published setting; the
others are quasi-random, from a scrambled Sobol sequence of Optuna. Trial t, counted from 0, has
seed 1000 + t for every method. It trains without a held-out quarter of the training images and is
judged on that quarter. The best setting then trains on all training images, with seeds that no
trial had, and is judged on the test images in a table of its own: `ruleset=tuned`. A method without
a space keeps its published setting and still takes its trials: they show how much of a best of k is
luck with seeds.

Writes trials to `leaderboards/trials` and the summary to `leaderboards/tuning.md`. Prints progress,
that summary, and the table of the judged choices.
"""

import functools
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.atomic_files import write_text
from bench.command_line import Options, UsageError, run_command, whole_number
from bench.conf.quantizer_yaml import FOLDER, quantizer_yaml, quantizers_named
from bench.conf.schema import moves_no_number
from bench.jobs.protocol import VERSION
from bench.provenance import evaluation_code_sha256
from bench.record import Record
from bench.report.tuning import GENERATED, Trials, page, read_trials, typed_beside
from bench.run import sweep

FIRST_TRIAL_SEED = 1000
_OPTIONS = {
    "quantizer": "",
    "trials": "5",
    "seeds": "2000,2001,2002",
    "leaderboards": "leaderboards",
    "runs": "runs",
}
_NOT_HERE = ("seed", "split", "ruleset", "study")


@dataclass(frozen=True)
class Request:
    """What a command line asks for."""

    quantizers: tuple[str, ...]
    trials: int
    seeds: str
    leaderboards: Path
    runs: Path
    others: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(
        _run, help=__doc__, defaults=_OPTIONS, arguments=arguments, takes=lambda word: True
    )


def _run(options: Options) -> int:
    try:
        return tune(read_request(options))
    except ModuleNotFoundError as error:
        raise UsageError(f"{error}; install it: uv sync --extra tune") from error


def read_request(options: Options) -> Request:
    """Reads a command line.

    Raises:
        UsageError: an unknown quantizer, a bad number, or an option that tuning itself decides.
    """
    for word in options.others:
        name = word.partition("=")[0]
        if name in _NOT_HERE:
            raise UsageError(f"bench.tune sets {name}= itself; type seeds= for the final seeds")
        if "," in word and "[" not in word:
            raise UsageError(f"bench.tune takes one value at a time, got {word}")
        if word.startswith(("quantizer.", "plugins=")):
            raise UsageError(f"bench.tune takes hyper-parameters from YAML only, got {word}")
    trials = options.integer("trials", at_least=1)
    known = [path.stem for path in FOLDER.glob("*.yaml")]
    return Request(
        quantizers=tuple(quantizers_named(options["quantizer"], known)),
        trials=trials,
        seeds=_fresh_seeds(options, trials),
        leaderboards=options.folder("leaderboards"),
        runs=options.folder("runs"),
        others=options.others,
    )


def _fresh_seeds(options: Options, trials: int) -> str:
    """The seeds of the final runs; no trial has one of them."""
    for word in options.listed("seeds"):
        if 0 <= whole_number("seeds", word) - FIRST_TRIAL_SEED < trials:
            raise UsageError(
                f"trials have the seeds from {FIRST_TRIAL_SEED} on; type others, got {word}"
            )
    return options["seeds"]


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
        # Optuna draws the first trial at random; the published setting takes its place.
        drawn = [study.ask(space).params for _ in range(trials)][1:]
    return [{}, *({name: _rounded(value) for name, value in one.items()} for one in drawn)]


def tune(request: Request) -> int:
    """Runs all trials, then the chosen settings; returns the exit code of the final runs.

    Raises:
        UsageError: as `bench.run.sweep`, and if there are not the trials to choose from.
        KeyboardInterrupt: Ctrl-C.
    """
    boards = request.leaderboards / "trials"
    for quantizer in request.quantizers:
        for number, setting in enumerate(settings(quantizer, request.trials)):
            own = [f"seed={FIRST_TRIAL_SEED + number}", "split=tune", f"leaderboards={boards}"]
            sweep([*_typed(quantizer, setting, request), *own], show=False)
    path, text = request.leaderboards / "tuning.md", page(read_trials(boards))
    write_text(path, text)
    print(f"\n{text.removeprefix(GENERATED)}\nwritten to {path}\n")
    return _judge_choices(request, _complete_trials(request, boards))


def _complete_trials(request: Request, boards: Path) -> list[Trials]:
    """The trials of this command, the same number for each quantizer.

    Raises:
        UsageError: trials are missing, or there are trials of two protocols.
    """
    found = read_trials(boards, functools.partial(_belongs, request))
    complete = [trials for trials in found if trials.quantizer in request.quantizers]
    counts = {trials.quantizer: len(trials.records) for trials in complete}
    if len(counts) < len(complete) or counts != dict.fromkeys(request.quantizers, request.trials):
        raise UsageError(
            f"expected {request.trials} trials of each of {', '.join(request.quantizers)} under "
            f"one protocol in {boards}, found {counts}; move older ones away"
        )
    return complete


def _judge_choices(request: Request, complete: Sequence[Trials]) -> int:
    """Trains each choice on all training images, with fresh seeds; the last prints its table."""
    own = [
        f"seed={request.seeds}",
        "ruleset=tuned",
        f"trials={request.trials}",
        f"leaderboards={request.leaderboards}",
    ]
    worst = 0
    for trials in complete:
        arguments = _typed(trials.quantizer, trials.setting(trials.chosen), request)
        worst = max(worst, sweep([*arguments, *own], show=trials is complete[-1]))
    return worst


def _belongs(request: Request, record: Record) -> bool:
    """Whether a record is a trial of this command: its number, what was typed, today's judge."""
    typed = sorted(word for word in request.others if not moves_no_number(word))
    return (
        0 <= record.seed - FIRST_TRIAL_SEED < request.trials
        and [word for word in typed_beside(record) if not moves_no_number(word)] == typed
        and record.protocol["version"] == VERSION
        and record.protocol["evaluation_code"] == evaluation_code_sha256()
    )


def _typed(quantizer: str, setting: dict[str, Any], request: Request) -> list[str]:
    """One quantizer and setting, as `bench.run` reads it."""
    settings = [f"quantizer.{key}={value}" for key, value in setting.items()]
    return [f"quantizer={quantizer}", *settings, *request.others, f"runs={request.runs}"]


def _distribution(range_: dict[str, Any]) -> Any:
    """One line of a YAML's `tune`, `{low, high, log}` or `{choices}`, as Optuna's distribution."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if "choices" in range_:
        return CategoricalDistribution(range_["choices"])
    return FloatDistribution(range_["low"], range_["high"], log=range_["log"])


def _rounded(value: Any) -> Any:
    """A drawn number as a person would type it, and as a row's name shows it."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
