"""Named sweeps that answer one question: a table of a paper, or one of ours.

    python -m bench.run study=gsq_groups

A study is a YAML of `bench/conf/study`: points, each a quantizer with its settings, and claims,
each an order of points. This module turns it into command lines and finds its records again. It
needs no torch.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.command_line import did_you_mean
from bench.conf.quantizer_yaml import quantizer_yaml
from bench.record import Record

FOLDER = Path(__file__).parent / "study"
SEEDS = (0, 1, 2)


class StudyError(ValueError):
    """A study is unknown or its YAML is wrong; the message says what is known or expected."""


@dataclass(frozen=True)
class Point:
    """One setting of one quantizer.

    Attributes:
        name: what tables and claims call it.
        quantizer: registered name.
        rate: bits per position.
        hyperparameters: of the quantizer, beyond its defaults and operating point.
        downsampling: of the frame that `overrides` asks for; None for the recipe's own.
        overrides: what else to type for it.
    """

    name: str
    quantizer: str
    rate: float
    hyperparameters: dict[str, Any]
    downsampling: int | None
    overrides: tuple[str, ...]

    def arguments(self) -> list[str]:
        """What to type to run it."""
        settings = [
            f"quantizer.{key}={_typed(value)}" for key, value in self.hyperparameters.items()
        ]
        return [f"quantizer={self.quantizer}", f"rate={self.rate:g}", *settings, *self.overrides]

    def owns(self, record: Record) -> bool:
        """Whether a record is a run of this point: all of its settings, and no other changed."""
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
    """An order of points by one metric, and what a paper says of it.

    Attributes:
        text: the claim, one sentence.
        paper: the numbers behind it.
        metric: key of a record's metrics; empty for what tables are ranked by.
        order: names of points, the best first.
    """

    text: str
    paper: str
    metric: str
    order: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """A question, the runs that answer it, and the claims to hold against them."""

    name: str
    title: str
    paper: str
    points: tuple[Point, ...]
    claims: tuple[Claim, ...]

    def command_lines(self, arguments: Sequence[str]) -> list[list[str]]:
        """One command line a point; what the user typed comes last and wins."""
        seeds = f"seed={','.join(map(str, SEEDS))}"
        return [[*point.arguments(), seeds, *arguments] for point in self.points]


def available() -> list[str]:
    """Names of all studies, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def requested(arguments: Sequence[str]) -> tuple[Study | None, list[str]]:
    """The study that a command line asks for, and the command line without it.

    Raises:
        StudyError: it is unknown, or there are several.
    """
    names = [argument.partition("=")[2] for argument in arguments if argument.startswith("study=")]
    others = [argument for argument in arguments if not argument.startswith("study=")]
    if len(names) > 1 or any("," in name for name in names):
        raise StudyError(f"one study at a time, got {', '.join(names)}")
    return (load(names[0]) if names else None), others


def load(name: str) -> Study:
    """Reads a study.

    Raises:
        StudyError: it is unknown, or its YAML is wrong.
    """
    if name not in available():
        raise StudyError(did_you_mean("study", name, available()))
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    points = tuple(point for entry in content["points"] for point in _points(entry))
    claims = tuple(
        Claim(claim["text"], claim["paper"], claim.get("metric", ""), tuple(claim["order"]))
        for claim in content["claims"]
    )
    _check_names(name, points, claims)
    return Study(name, content["title"], content["paper"], points, claims)


def _points(entry: dict[str, Any]) -> Iterable[Point]:
    """Every combination of an entry's lists is a point."""
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
        raise StudyError(f"study {study} has points of equal name: {', '.join(names)}")
    unknown = {name for claim in claims for name in claim.order} - set(names)
    if unknown:
        raise StudyError(
            f"study {study} claims something of {', '.join(sorted(unknown))}; "
            f"its points are {', '.join(names)}"
        )


def _operating_point(quantizer: str, rate: float) -> dict[str, Any]:
    """The hyper-parameters that a quantizer's YAML sets at a rate."""
    rates = {float(key): point for key, point in quantizer_yaml(quantizer).get("rates", {}).items()}
    return rates.get(rate, {})


def _typed(value: Any) -> str:
    """A value as Hydra reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
