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
nothing else. The page holds only the chosen sections, and a profile of each call that misses its
target. It is written after every section. Ctrl-C ends the run after the size that is being measured
and keeps what there is; a second Ctrl-C ends it at once. Exit codes: 0, 1 if a section failed, 2
for a typo, 130 for Ctrl-C.
"""

import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.atomic_files import write_text
from bench.command_line import (
    DONE,
    FAILED,
    INTERRUPTED,
    Options,
    UsageError,
    known_name,
    run_command,
)
from bench.training.interrupt import StopRequest

if TYPE_CHECKING:
    import torch

    from bench.speed.comparison import Grid
    from bench.speed.page import Section

SECTIONS = (
    *("search", "methods", "entropy", "training", "larger", "frame"),
    *("judge", "startup", "loader"),
)
DEFAULTS = {
    "sections": "all",
    "grid": "small",
    "quantizer": "glob(*)",
    "plugins": "",
    "device": "auto",
    "leaderboards": "leaderboards",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    shown = [word for word in words if not word.startswith("leaderboards=")]
    return run_command(
        partial(_run, shlex.join(["python", "-m", "bench.speed", *shown])),
        help=__doc__,
        defaults=DEFAULTS,
        arguments=words,
        stopped="stopped at once; the page holds the sections that were complete",
    )


def _run(command: str, options: Options) -> int:
    names = SECTIONS if options["sections"] == "all" else options.listed("sections")
    for name in names:
        known_name("section", name, SECTIONS)
    grid = options.one_of("grid", ("small", "full"))
    device = _device(options.one_of("device", ("auto", "cpu", "cuda")))

    from bench.conf import plugins
    from bench.conf.methods import chosen
    from bench.provenance import device_name, flush_denormals
    from bench.speed.page import Section, markdown, say
    from bench.speed.profile import where_time_goes

    flush_denormals()
    plugins.load(options.listed("plugins"))
    measurements = _sections(chosen(options["quantizer"]))
    gpu_or_cpu = device_name(device)
    path = options.folder("leaderboards") / _file_name(gpu_or_cpu, device.type, grid)
    facts = _facts(device)
    page: list[Section] = []
    failed = False
    with StopRequest() as stop:
        for name in [*(name for name in SECTIONS if name in names), "profile"]:
            if stop.requested:
                break
            started = time.perf_counter()
            try:
                if name == "profile":
                    page += where_time_goes(page, device)
                else:
                    section, grids = measurements[name]
                    page.append(section(grids[grid], device, stop))
            except Exception as error:
                failed = True
                message = f"{type(error).__name__}: {error}"
                page.append(Section(name.capitalize(), f"Failed: {message}"))
                say(f"{name} failed: {message}")
            say(f"{name}: {time.perf_counter() - started:.0f} s")
            facts["load average at the end"] = _load()
            write_text(path, markdown(page, command=command, device=gpu_or_cpu, facts=facts))
    print(f"written: {path}")
    return INTERRUPTED if stop.requested else FAILED if failed else DONE


def _sections(
    quantizers: Sequence[str],
) -> "dict[str, tuple[Callable[..., Section], Mapping[str, Grid[Any]]]]":
    """By name: what measures a section, and its grids."""
    from bench.speed import (
        code_search,
        exact_entropies,
        frame,
        judge_time,
        startup,
        training_step,
        whole_quantizers,
    )

    training = partial(training_step.section, quantizers=quantizers)
    return {
        "search": (code_search.section, code_search.GRIDS),
        "methods": (whole_quantizers.section, whole_quantizers.GRIDS),
        "entropy": (exact_entropies.section, exact_entropies.GRIDS),
        "training": (training, training_step.GRIDS),
        "larger": (partial(training, larger=True), training_step.LARGER_GRIDS),
        "frame": (frame.frame_section, frame.GRIDS),
        "judge": (judge_time.section, judge_time.GRIDS),
        "startup": (startup.section, startup.GRIDS),
        "loader": (frame.loader_section, frame.GRIDS),
    }


def _facts(device: "torch.device") -> dict[str, Any]:
    """Machine, threads and versions, as the page ends with."""
    from bench.provenance import environment
    from bench.speed.peers import versions

    facts = environment(device)
    packages = facts.pop("packages") | versions()
    keys = ("processor", "gpu", "cuda", "cpus", "threads", "python", "system")
    return {key: facts[key] for key in keys if key in facts} | {
        "extra memory": "what torch allocates" if device.type == "cuda" else "resident, its peak",
        "packages": ", ".join(f"{name} {number}" for name, number in packages.items()),
        "load average at the start": _load(),
    }


def _device(name: str) -> "torch.device":
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("device=cuda, but torch finds no CUDA device; type device=cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _file_name(device_name: str, device_type: str, grid: str) -> str:
    """`speed.md` on a CPU, `speed-h200.md` on an NVIDIA H200, `speed-full.md` of the full grid."""
    words = re.findall(r"[a-z0-9]+", device_name.lower()) if device_type != "cpu" else []
    parts = [word for word in words if word != "nvidia"] + ["full"] * (grid == "full")
    return "-".join(["speed", *parts]) + ".md"


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "-"


if __name__ == "__main__":
    sys.exit(main())
