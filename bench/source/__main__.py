"""Trains quantizers alone on known sources and writes `source.md` and `source.svg`.

    python -m bench.source [quantizer=gsq,vq] [rate=8] [source=gaussian,sphere] [dimension=2,8]

    quantizer='glob(*)'         names, or a pattern
    rate=                       bits a vector; by default each method's lowest rate
    source=all                  gaussian, cube, sphere, mixture
    dimension=2,8,32            of the source, at least 2
    steps=300                   of training
    learning_rate=0.02          of Adam, at the first step, for all methods
    seed=0                      sets weights, vectors and noise; the same for all methods
    plugins=                    modules that register quantizers of your own
    leaderboards=leaderboards   folder of the two files
    quantizer.KEY=VALUE         a hyper-parameter of every method named

A method without an operating point at `rate=` is skipped with a line. Prints a line for each
measurement. Exit codes: 0, 1 if nothing could be measured, 2 for a typo.
"""

import math
import shlex
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.atomic_files import write_text
from bench.command_line import (
    DONE,
    FAILED,
    Options,
    UsageError,
    known_name,
    run_command,
    whole_number,
)

if TYPE_CHECKING:
    from bench.source.fitting import Measurement
    from bench.source.sources import Source

DEFAULTS = {
    "quantizer": "glob(*)",
    "rate": "",
    "source": "all",
    "dimension": "2,8,32",
    "steps": "300",
    "learning_rate": "0.02",
    "seed": "0",
    "plugins": "",
    "leaderboards": "leaderboards",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    shown = [word for word in words if not word.startswith("leaderboards=")]
    return run_command(
        partial(_run, shlex.join(["python", "-m", "bench.source", *shown])),
        help=__doc__,
        defaults=DEFAULTS,
        arguments=words,
        takes=lambda word: word.startswith("quantizer.") and "=" in word,
    )


def _run(command: str, options: Options) -> int:
    import torch
    import yaml

    from bench.conf import plugins
    from bench.conf.methods import chosen, node
    from bench.source.plot import svg
    from bench.source.report import markdown
    from bench.source.sources import SOURCES

    plugins.load(options.listed("plugins"))
    methods = chosen(options["quantizer"])
    names = list(SOURCES) if options["source"] == "all" else options.listed("source")
    sources = [
        SOURCES[known_name("source", name, SOURCES)](
            whole_number("dimension", dimension, at_least=2)
        )
        for name in names
        for dimension in options.listed("dimension")
    ]
    rate = options.number("rate") if options["rate"] else None
    training: dict[str, Any] = {
        "steps": options.integer("steps", at_least=1),
        "learning_rate": options.number("learning_rate"),
        "seed": options.integer("seed"),
    }
    settings = [word.removeprefix("quantizer.").partition("=") for word in options.others]
    hyperparameters = {key: yaml.safe_load(value) for key, _, value in settings}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the tensors are too small for more
    try:
        rows = [
            row
            for name in methods
            for row in _measure(node(name) | hyperparameters, rate, sources, training)
        ]
    finally:
        torch.set_num_threads(threads)
    if not rows:
        return FAILED
    folder = options.folder("leaderboards")
    page = markdown(rows, command=command, **training)
    for name, text in {"source.md": page, "source.svg": svg(rows)}.items():
        write_text(folder / name, text)
        print(f"written: {folder / name}")
    return DONE


def _measure(
    configuration: dict[str, Any],
    rate: float | None,
    sources: "Sequence[Source]",
    training: dict[str, Any],
) -> "list[Measurement]":
    """One method on all sources; if it cannot be measured, a line says so and the others go on."""
    from bench.conf.methods import rates
    from bench.source.fitting import fit_to, measure

    rows = []
    try:
        if rate is None:
            rate = min(rates(configuration))
        for source in sources:
            started = time.perf_counter()
            row = measure(fit_to(configuration, source.dimension, rate), source, **training)
            gap = row.gap_db(row.nominal_rate)
            text = "-" if math.isnan(gap) else f"{gap:.2f} dB"
            print(
                f"{row.point.name:12} {source.name:9} {source.dimension:3}  "
                f"D {row.distortion:.5f}  gap {text:>9}  {time.perf_counter() - started:.1f} s",
                flush=True,
            )
            rows.append(row)
    except UsageError as error:
        print(f"skipped: {error}", file=sys.stderr)
    return rows


if __name__ == "__main__":
    sys.exit(main())
