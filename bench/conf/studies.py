"""Studies: named sweeps that answer one question, from a table of a paper or our own.

    python -m bench.run study=gsq_groups

A study is a YAML file in `bench/conf/study`. It has points, each a quantizer with settings, and
claims, each an order of points. This module turns a study into command lines and finds its records
again. It needs no torch.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from bench.command_line import UsageError, known_name
from bench.conf import CONF
from bench.conf.quantizer_yaml import quantizer_yaml
from bench.record import Record

FOLDER = CONF / "study"
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Point:
    """One setting of one quantizer.

    Attributes:
        name: in tables and claims.
        quantizer: registered name.
        rate: bits per position.
        hyperparameters: of the quantizer; the others have their default or come from `rate`.
        downsampling: of the frame that `overrides` sets; None for the recipe's own frame.
        overrides: what else to type.
    """

    name: str
    quantizer: str
    rate: float
    hyperparameters: dict[str, Any]
    downsampling: int | None
    overrides: tuple[str, ...]

    def arguments(self) -> list[str]:
        """What to type to run this point."""
        settings = [
            f"quantizer.{key}={_typed(value)}" for key, value in self.hyperparameters.items()
        ]
        return [f"quantizer={self.quantizer}", f"rate={self.rate:g}", *settings, *self.overrides]

    def owns(self, record: Record) -> bool:
        """Whether a record is a run of this point: it has its settings and no other change."""
        protocol, quantizer = record.protocol, record.quantizer
        if quantizer["name"] != self.quantizer or protocol["rate"] != self.rate:
            return False
        if self.downsampling is not None and protocol["downsampling"] != self.downsampling:
            return False
        frame = protocol["recipe"].get("frame", {})
        for override in self.overrides:  # recipe.frame.KEY=VALUE
            key, _, value = override.partition("=")
            if frame.get(key.rpartition(".")[2]) != yaml.safe_load(value):
                return False
        expected = _operating_point(self.quantizer, self.rate) | self.hyperparameters
        used = quantizer["hyperparameters"]
        changed = re.findall(r"(\w+)=", quantizer["operating_point"])
        return set(changed) <= set(expected) and all(
            used.get(key) == value for key, value in expected.items()
        )


@dataclass(frozen=True)
class Claim:
    """An order of points by one metric, and what a paper says about it.

    Attributes:
        text: the claim, one sentence.
        paper: the numbers behind it.
        metric: a key of a record's metrics; empty for the metric that ranks tables.
        order: names of points, the best first.
    """

    text: str
    paper: str
    metric: str
    order: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """A question, the runs that answer it, and the claims that they test."""

    name: str
    title: str
    paper: str
    points: tuple[Point, ...]
    claims: tuple[Claim, ...]

    def command_lines(self, arguments: Sequence[str]) -> list[list[str]]:
        """One command line for each point; what the user typed comes last and wins."""
        seeds = f"seed={','.join(map(str, SEEDS))}"
        return [[*point.arguments(), seeds, *arguments] for point in self.points]


def available() -> list[str]:
    """Names of all studies, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def requested(arguments: Sequence[str]) -> tuple[Study | None, list[str]]:
    """The study that a command line asks for, and the command line without it.

    Raises:
        UsageError: the study is unknown, or there are several.
    """
    names = [argument.partition("=")[2] for argument in arguments if argument.startswith("study=")]
    others = [argument for argument in arguments if not argument.startswith("study=")]
    if len(names) > 1 or any("," in name for name in names):
        raise UsageError(f"one study at a time, got {', '.join(names)}")
    return (load(names[0]) if names else None), others


def load(name: str) -> Study:
    """Reads a study.

    Raises:
        UsageError: the study is unknown, or its YAML is wrong.
    """
    known_name("study", name, available())
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    points = tuple(point for entry in content["points"] for point in _points(entry))
    claims = tuple(
        Claim(claim["text"], claim["paper"], claim.get("metric", ""), tuple(claim["order"]))
        for claim in content["claims"]
    )
    _check_names(name, points, claims)
    return Study(name, content["title"], content["paper"], points, claims)


def _points(entry: dict[str, Any]) -> Iterable[Point]:
    """One point for each combination of the values in an entry's lists."""
    settings = entry.get("set", {})
    axes = {"quantizer": entry["quantizer"], "rate": entry["rate"], **settings}
    values = [value if isinstance(value, list) else [value] for value in axes.values()]
    for combination in itertools.product(*values):
        chosen = dict(zip(axes, combination, strict=True))
        yield Point(
            name=entry["name"].format(**{key: _typed(value) for key, value in chosen.items()}),
            quantizer=chosen["quantizer"],
            rate=float(chosen["rate"]),
            hyperparameters={key: chosen[key] for key in settings},
            downsampling=entry.get("downsampling"),
            overrides=tuple(entry.get("overrides", ())),
        )


def _check_names(study: str, points: Sequence[Point], claims: Sequence[Claim]) -> None:
    names = [point.name for point in points]
    if len(names) != len(set(names)):
        raise UsageError(f"study {study} has points of equal name: {', '.join(names)}")
    unknown = {name for claim in claims for name in claim.order} - set(names)
    if unknown:
        raise UsageError(
            f"study {study} has a claim about {', '.join(sorted(unknown))}; "
            f"its points are {', '.join(names)}"
        )


def _operating_point(quantizer: str, rate: float) -> dict[str, Any]:
    """The hyper-parameters that a quantizer's YAML sets at a rate."""
    rates = {float(key): point for key, point in quantizer_yaml(quantizer).get("rates", {}).items()}
    return rates.get(rate, {})


def _typed(value: Any) -> str:
    """A value as Hydra reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
