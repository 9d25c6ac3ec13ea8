"""Trains quantizers alone on known sources and writes `source.md` and `source.svg`.

    python -m bench.source [quantizer=gsq,vq] [rate=8] [source=gaussian,sphere] [dimension=2,8]

    quantizer='glob(*)'         names, or a pattern
    rate=                       bits a vector; by default each method's lowest rate
    source=all                  gaussian, cube, sphere, mixture
    dimension=2,8,32            of the source, at least 2
    steps=300                   of training
    learning_rate=0.02          of Adam, at the first step, for all methods
    seed=0                      decides weights, vectors and noise; equal for all methods
    plugins=                    modules that register quantizers of your own
    leaderboards=leaderboards   folder of the two files
    quantizer.KEY=VALUE         a hyper-parameter of every method named

A method without an operating point at `rate=` is skipped with a line. Prints a line a measurement.
"""

import math
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.atomic_files import write_text
from bench.command_line import did_you_mean
from bench.conf.schema import ConfigError

if TYPE_CHECKING:
    from bench.source.sources import Source
    from bench.source.fitting import Measurement


@dataclass
class Options:
    """What a user may type, as it is typed."""

    quantizer: str = "glob(*)"
    rate: str = ""
    source: str = "all"
    dimension: str = "2,8,32"
    steps: str = "300"
    learning_rate: str = "0.02"
    seed: str = "0"
    plugins: str = ""
    leaderboards: str = "leaderboards"
    hyperparameters: dict[str, Any] = field(default_factory=dict)


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code: 0, 1 if nothing could be measured, 2 for a typo."""
    if any(argument in ("-h", "--help") for argument in arguments):
        print(__doc__)
        return 0
    try:
        words = [word for word in arguments if not word.startswith("leaderboards=")]
        return _run(parse(arguments), shlex.join(["python", "-m", "bench.source", *words]))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def parse(arguments: Sequence[str]) -> Options:
    """Reads `KEY=VALUE` words.

    Raises:
        ConfigError: an unknown key, with the known.
    """
    import yaml

    options = Options()
    known = [option.name for option in fields(Options) if option.name != "hyperparameters"]
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key.startswith("quantizer.") and value:
            options.hyperparameters[key.removeprefix("quantizer.")] = yaml.safe_load(value)
        elif key in known and value:
            setattr(options, key, value)
        else:
            raise ConfigError(did_you_mean("option", argument, [f"{name}=" for name in known]))
    return options


def _run(options: Options, command: str) -> int:
    import torch

    from bench.conf import plugins
    from bench.conf.methods import chosen, node
    from bench.source.plot import svg
    from bench.source.report import markdown

    plugins.load(options.plugins.split(",") if options.plugins else [])
    methods = chosen(options.quantizer)
    sources = _sources(options)
    rate = _number("rate", options.rate) if options.rate else None
    training: dict[str, Any] = {
        "steps": _integer("steps", options.steps, 1),
        "learning_rate": _number("learning_rate", options.learning_rate),
        "seed": _integer("seed", options.seed, 0),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the tensors are too small for more
    try:
        rows = []
        for name in methods:
            configuration = node(name) | options.hyperparameters
            rows += _measure(configuration, rate, sources, training)
    finally:
        torch.set_num_threads(threads)
    if not rows:
        return 1
    folder = Path(options.leaderboards)
    page = markdown(rows, command=command, **training)
    for name, text in {"source.md": page, "source.svg": svg(rows)}.items():
        write_text(folder / name, text)
        print(f"written: {folder / name}")
    return 0


def _measure(
    configuration: dict[str, Any],
    rate: float | None,
    sources: "Sequence[Source]",
    training: dict[str, Any],
) -> "list[Measurement]":
    """One method on all sources; one that cannot be measured is a line, and the others go on."""
    from bench.conf.methods import rates
    from bench.source.fitting import measure, subject

    rows = []
    try:
        if rate is None:
            rate = min(rates(configuration))
        for source in sources:
            started = time.perf_counter()
            chosen = subject(configuration, source.dimension, rate)
            row = measure(chosen, source, **training)
            print(_line(row, time.perf_counter() - started), flush=True)
            rows.append(row)
    except ConfigError as error:
        print(f"skipped: {error}", file=sys.stderr)
    return rows


def _line(row: "Measurement", seconds: float) -> str:
    gap = row.gap_db(row.nominal_rate)
    text = "-" if math.isnan(gap) else f"{gap:.2f} dB"
    name, source, dimension = row.point.name, row.source.name, row.source.dimension
    return (
        f"{name:12} {source:9} {dimension:3}  D {row.distortion:.5f}  gap {text:>9}  "
        f"{seconds:.1f} s"
    )


def _sources(options: Options) -> "list[Source]":
    from bench.source.sources import SOURCES

    names = list(SOURCES) if options.source == "all" else options.source.split(",")
    for name in names:
        if name not in SOURCES:
            raise ConfigError(did_you_mean("source", name, SOURCES))
    dimensions = [_integer("dimension", word, 2) for word in options.dimension.split(",")]
    return [SOURCES[name](dimension) for name in names for dimension in dimensions]


def _integer(name: str, word: str, least: int) -> int:
    if not word.isdigit() or int(word) < least:
        raise ConfigError(f"{name}={word} must be a whole number, at least {least}")
    return int(word)


def _number(name: str, word: str) -> float:
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ConfigError(f"{name}={word} must be a number above 0")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
