"""Section "Start-up": fresh processes that import this package or print the main command's help."""

import os
import subprocess
import sys
import tempfile
from functools import partial

import torch

from bench.speed.comparison import Grid, measure
from bench.speed.page import Section, Target, duration, say
from bench.training.interrupt import StopRequest

_TEXT = """Interleaved fresh processes, with the bytecode that an earlier one left. What `import
quantizers` adds is timed inside a process that has imported torch: the difference of two whole
processes would be lost in their noise."""

GRIDS: dict[str, Grid[str]] = {"small": Grid((), rounds=3), "full": Grid((), rounds=9)}
_IMPORT = """
import time
import torch
started = time.perf_counter()
import quantizers
print(time.perf_counter() - started)
"""
_ADDED = "`import quantizers`, after torch"
_PROCESSES = {
    "`python -c 'import torch'`": ("-c", "import torch"),
    "`python -m bench.run --help`": ("-m", "bench.run", "--help"),
    _ADDED: ("-c", _IMPORT),
}


def section(grid: Grid[str], device: torch.device, stop: StopRequest) -> Section:
    """The first call of each process compiles and is not counted."""
    say(f"startup: {grid.rounds} rounds of fresh processes")
    with tempfile.TemporaryDirectory() as bytecode:
        contenders = {
            name: partial(partial, run, bytecode, *words) for name, words in _PROCESSES.items()
        }
        measured = measure(
            contenders, grid, torch.device("cpu"), once=False, required=list(contenders)
        )
    measured[_ADDED].seconds = [float(printed) for printed in measured[_ADDED].results[1:]]
    rows = [{"process": name, "time": duration(cell.median)} for name, cell in measured.items()]
    in_torch, in_help, added = (cell.median for cell in measured.values())
    targets = [
        Target.of(
            "start-up: import quantizers, over torch", {"added": added}, duration, at_most=0.1
        ),
        Target.of(
            "start-up: bench.run --help, at most 1.5 s over import torch",
            {"difference": in_help - in_torch},
            lambda seconds: f"{seconds:+.2f} s",
            at_most=1.5,
        ),
    ]
    return Section("Start-up", _TEXT, rows, targets)


def run(bytecode: str, *words: str) -> str:
    """What a fresh Python process prints."""
    environment = os.environ | {"PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env=environment,
    ).stdout
