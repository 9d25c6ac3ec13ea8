"""Measures time and memory of this code beside that of other libraries, and writes `speed.md`.

    python -m bench.speed [grid=full] [sections=search,training]

    sections=all                search, methods, entropy, training, larger (recipe), frame, judge,
                                startup, loader
    grid=small                  small: minutes; full: all sizes, 40 minutes on two quiet cores, and
                                a page of its own, speed-full.md
    quantizer='glob(*)'         names, or a pattern, for the training step
    plugins=                    modules that register quantizers of your own
    device=auto                 auto, cpu, cuda; the page of a GPU is speed-NAME.md
    leaderboards=leaderboards   folder of the page

Libraries to compare with that are not installed are shown as such. Run it on a machine that does
nothing else. The page holds the chosen sections alone, and a profile of each call that misses its
target. It is written after every section; Ctrl-C ends the run after the size that is being measured
and keeps what there is, a second Ctrl-C ends it at once.
"""

import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.atomic_files import write_text
from bench.command_line import UsageError, did_you_mean, read_options
from bench.conf.schema import ConfigError
from bench.training.interrupt import StopRequest

if TYPE_CHECKING:
    import torch

    from bench.speed.page import Section

SECTIONS = (
    *("search", "methods", "entropy", "training", "larger", "frame"),
    *("judge", "startup", "loader"),
)
_GRIDS = ("small", "full")
_INTERRUPTED = 130  # the shell's code for a program ended by Ctrl-C
_DEVICES = ("auto", "cpu", "cuda")
_OPTIONS = {
    "sections": "all",
    "grid": "small",
    "quantizer": "glob(*)",
    "plugins": "",
    "device": "auto",
    "leaderboards": "leaderboards",
}


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code.

    0, 1 for a section that failed, 2 for a typo, 130 for Ctrl-C.
    """
    if any(argument in ("-h", "--help") for argument in arguments):
        print(__doc__)
        return 0
    words = [word for word in arguments if not word.startswith("leaderboards=")]
    try:
        options = read_options(arguments, _OPTIONS)
        return _run(options, shlex.join(["python", "-m", "bench.speed", *words]))
    except (UsageError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped at once; the page holds the sections that were complete", file=sys.stderr)
        return _INTERRUPTED


def _run(options: Mapping[str, str], command: str) -> int:
    chosen = list(SECTIONS) if options["sections"] == "all" else options["sections"].split(",")
    for name in chosen:
        _known("section", name, SECTIONS)
    _known("grid", options["grid"], _GRIDS)
    device = _device(options["device"])

    from bench.conf import plugins
    from bench.conf.methods import chosen as named
    from bench.provenance import flush_denormals

    flush_denormals()
    plugins.load(options["plugins"].split(",") if options["plugins"] else [])
    path = Path(options["leaderboards"]) / _file_name(device, options["grid"])
    page = _Page(path, command, _name(device), _facts(device))
    with StopRequest() as stop:
        each = _measurements(options["grid"], named(options["quantizer"]), device, stop)
        for name in (section for section in SECTIONS if section in chosen):
            if not stop.requested:
                page.measure(name, each[name])
        if not stop.requested:
            page.explain(device)
    print(f"written: {path}")
    return _INTERRUPTED if stop.requested else int(page.failed)


class _Page:
    """The page while it grows; on disk it is always whole."""

    def __init__(self, path: Path, command: str, device: str, facts: dict[str, Any]) -> None:
        self.failed = False
        self._path, self._command, self._device, self._facts = path, command, device, facts
        self._sections: list[Section] = []

    def measure(self, name: str, measurement: "Callable[[], Section | None]") -> None:
        """Adds a section, or a line on why it failed."""
        from bench.speed.page import Section, say

        started = time.perf_counter()
        try:
            section = measurement()
        except Exception as error:
            self.failed = True
            message = f"{type(error).__name__}: {error}"
            section = Section(name.capitalize(), f"Failed: {message}")
            say(f"{name} failed: {message}")
        say(f"{name}: {time.perf_counter() - started:.0f} s")
        if section:
            self._sections.append(section)
        self._write()

    def explain(self, device: "torch.device") -> None:
        """Adds profiles of the calls that miss their targets."""
        from bench.speed.profile import where_time_goes

        targets = [target for section in self._sections for target in section.targets]
        self.measure("profile", lambda: where_time_goes(targets, device))

    def _write(self) -> None:
        from bench.speed.page import markdown

        facts = self._facts | {"load average at the end": _load()}
        text = markdown(self._sections, command=self._command, device=self._device, facts=facts)
        write_text(self._path, text)


def _measurements(
    grid: str, quantizers: Sequence[str], device: "torch.device", stop: StopRequest
) -> "dict[str, Callable[[], Section]]":
    from bench.speed import entropy, frame, judge, methods, search, startup, training

    length, larger = training.GRIDS[grid], training.LARGER_GRIDS[grid]
    return {
        "search": lambda: search.measure(search.GRIDS[grid], device, stop=stop),
        "methods": lambda: methods.measure(methods.GRIDS[grid], device, stop=stop),
        "entropy": lambda: entropy.measure(entropy.GRIDS[grid], device),
        "training": lambda: training.measure(quantizers, length, device, stop=stop),
        "larger": lambda: training.measure_larger(quantizers, larger, device, stop=stop),
        "frame": lambda: frame.measure_frame(
            frame.STEPS[grid], device, compiled=frame.COMPILED[grid]
        ),
        "judge": lambda: judge.measure(device),
        "startup": lambda: startup.measure(startup.ROUNDS[grid]),
        "loader": lambda: frame.measure_loader(frame.STEPS[grid], device),
    }


def _facts(device: "torch.device") -> dict[str, Any]:
    """Machine, threads and versions, as the page ends with."""
    from bench.provenance import environment
    from bench.speed.peers import versions

    facts = environment(device)
    packages = facts.pop("packages") | versions()
    keys = ("processor", "gpu", "cuda", "cpus", "threads", "python", "system")
    return {key: facts[key] for key in keys if key in facts} | {
        "extra memory": "what torch allocates"
        if device.type == "cuda"
        else "resident, at its peak",
        "packages": ", ".join(f"{name} {number}" for name, number in packages.items()),
        "load average at the start": _load(),
    }


def _device(name: str) -> "torch.device":
    _known("device", name, _DEVICES)
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda, but torch finds no CUDA device; type device=cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _name(device: "torch.device") -> str:
    from bench.provenance import device_name

    return device_name(device)


def _file_name(device: "torch.device", grid: str) -> str:
    """`speed.md` on a CPU, `speed-h200.md` on an NVIDIA H200, `speed-full.md` of the full grid."""
    name = "" if device.type == "cpu" else _name(device).lower()
    words = [word for word in re.findall(r"[a-z0-9]+", name) if word != "nvidia"]
    return "-".join(["speed", *words, *(["full"] if grid == "full" else [])]) + ".md"


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "-"


def _known(what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(did_you_mean(what, value, known))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
