"""How long fresh processes take to import this package and to print the main command's help."""

import statistics
import subprocess
import sys
import time

from bench.speed.page import Section, duration, say
from bench.speed.targets import at_most

_TEXT = """Fresh processes in turns. What `import quantizers` adds is timed within a process that
has torch imported: a difference of two whole processes would be lost in their noise."""

ROUNDS = {"small": 3, "full": 9}
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
    whole: dict[str, list[float]] = {
        "python -c 'import torch'": [],
        "python -m bench.run --help": [],
    }
    added = []
    for _ in range(rounds):
        added.append(float(_run("-c", _IMPORT)[1].split()[1]))
        for command, seconds in whole.items():
            words = ("-c", "import torch") if "torch" in command else command.split()[1:]
            seconds.append(_run(*words)[0])
    torch_seconds, help_seconds = (statistics.median(seconds) for seconds in whole.values())
    quantizers = statistics.median(added)
    rows = [
        {"process": f"`{command}`", "time": duration(statistics.median(seconds))}
        for command, seconds in whole.items()
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


def _run(*words: str) -> tuple[float, str]:
    """Seconds and output of a fresh process."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=True, timeout=300
    )
    return time.perf_counter() - started, done.stdout
