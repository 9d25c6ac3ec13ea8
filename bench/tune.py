"""Chooses hyper-parameters of each quantizer in the same number of trials, then judges the choice.

    python -m bench.tune quantizer=gsq,fsq trials=5 [seeds=2000,2001,2002] [any option of bench.run]

The space of a method stands in its YAML under `tune`. Its first trial is the published setting, the
others are quasi-random: a scrambled Sobol sequence of Optuna. Trial t has seed 1000 + t for every
method, trains without the held-out quarter of the training images and is judged on it. The best
setting then trains on all training images, with seeds that no trial had, and is judged on the test
images in a table of its own: `ruleset=tuned`. A method without a space keeps its published setting
and still takes its trials, so that all have the same chance of a lucky seed.

Writes trials to `leaderboards/trials` and the summary to `leaderboards/tuning.md`.
"""

import fnmatch
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.explain import unknown
from bench.files import write_text
from bench.report.tuning import page, read_trials
from bench.run import main as run
from bench.study import QUANTIZERS

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
    trials = given.get("trials", "5")
    if not trials.isdigit() or int(trials) < 1:
        raise TuneError(f"trials must be a whole number of at least 1, got {trials!r}")
    known = sorted(path.stem for path in QUANTIZERS.glob("*.yaml"))
    names: list[str] = []
    for pattern in given.get("quantizer", "").removeprefix("glob(").removesuffix(")").split(","):
        matching = fnmatch.filter(known, pattern)
        if not matching:
            raise TuneError(unknown("quantizer", pattern, known))
        names += matching
    return Request(
        quantizers=tuple(dict.fromkeys(names)),
        trials=int(trials),
        seeds=given.get("seeds", SEEDS),
        leaderboards=Path(given.get("leaderboards", "leaderboards")),
        runs=Path(given.get("runs", "runs")),
        others=others,
    )


def settings(quantizer: str, trials: int) -> list[dict[str, Any]]:
    """The hyper-parameters of each trial; the first is empty: the published setting."""
    import optuna

    node = yaml.safe_load((QUANTIZERS / f"{quantizer}.yaml").read_text(encoding="utf-8"))
    space = {name: _distribution(range_) for name, range_ in node.get("tune", {}).items()}
    if not space:
        return [{}] * trials
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=0)
        study = optuna.create_study(sampler=sampler)
        drawn = [dict(study.ask(space).params) for _ in range(trials - 1)]
    return [{}, *drawn]


def tune(request: Request) -> int:
    """Runs all trials, then the chosen settings; returns the exit code of the final runs."""
    boards = request.leaderboards / "trials"
    common = [*request.others, f"runs={request.runs}"]
    for quantizer in request.quantizers:
        for number, setting in enumerate(settings(quantizer, request.trials)):
            run(
                [
                    *_typed(quantizer, setting),
                    *common,
                    f"seed={FIRST_TRIAL_SEED + number}",
                    "split=tune",
                    f"leaderboards={boards}",
                ]
            )
    write_text(request.leaderboards / "tuning.md", page(read_trials(boards)))
    codes = [
        run(
            [
                *_typed(trials.quantizer, trials.setting(trials.chosen)),
                *common,
                f"seed={request.seeds}",
                "ruleset=tuned",
                f"trials={request.trials}",
                f"leaderboards={request.leaderboards}",
            ]
        )
        for trials in read_trials(boards, request.others)
        if trials.quantizer in request.quantizers
    ]
    return max(codes, default=1)


def _typed(quantizer: str, setting: dict[str, Any]) -> list[str]:
    """A quantizer with some hyper-parameters, as `bench.run` reads it."""
    return [f"quantizer={quantizer}", *(f"quantizer.{key}={v}" for key, v in setting.items())]


def _distribution(range_: dict[str, Any]) -> Any:
    """One line of a YAML's `tune` as Optuna has it: `{low, high, log}` or `{choices}`."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if "choices" in range_:
        return CategoricalDistribution(range_["choices"])
    return FloatDistribution(range_["low"], range_["high"], log=range_["log"])


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
