"""How long fresh processes take to import this package and to print the main command's help."""

import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

from bench.speed.page import Section, duration, say
from bench.speed.targets import at_most

_TEXT = """Fresh processes in turns, with the bytecode that an earlier one left. What `import
quantizers` adds is timed within a process that has torch imported: a difference of two whole
processes would be lost in their noise."""

ROUNDS = {"small": 3, "full": 9}
_COMMANDS = ("python -c 'import torch'", "python -m bench.run --help")
_IMPORT = """
import time
started = time.perf_counter()
import torch
between = time.perf_counter()
import quantizers
print(between - started, time.perf_counter() - between)
"""


def measure(rounds: int) -> Section:
    """The whole section."""
    say(f"startup: {rounds} rounds of fresh processes")
    with tempfile.TemporaryDirectory() as bytecode:
        _round(bytecode)  # compiles
        measured = [_round(bytecode) for _ in range(rounds)]
    quantizers, *commands = map(statistics.median, zip(*measured, strict=True))
    torch_seconds, help_seconds = commands
    rows = [
        {"process": f"`{command}`", "time": duration(seconds)}
        for command, seconds in zip(_COMMANDS, commands, strict=True)
    ]
    rows.append({"process": "`import quantizers`, after torch", "time": duration(quantizers)})
    targets = [
        at_most("start-up: import quantizers, over torch", {"added": quantizers}, 0.1, duration),
        at_most(
            "start-up: bench.run --help, at most 1.5 s over import torch",
            {"difference": help_seconds - torch_seconds},
            1.5,
            lambda seconds: f"{seconds:+.2f} s",
        ),
    ]
    return Section("Start-up", _TEXT, rows, targets)


def _round(bytecode: str) -> list[float]:
    """Seconds that `import quantizers` adds, and those of each command."""
    added = float(_run(bytecode, "-c", _IMPORT)[1].split()[1])
    return [added, *(_run(bytecode, *shlex.split(command)[1:])[0] for command in _COMMANDS)]


def _run(bytecode: str, *words: str) -> tuple[float, str]:
    """Seconds and output of a fresh process, which keeps its bytecode in that folder."""
    environment = os.environ | {"PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env=environment,
    )
    return time.perf_counter() - started, done.stdout
