"""The step without a quantizer beside the bare sum of its matrix work, and the loader beside it."""

import math
import time
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from PIL import Image

from bench.conf.schema import ConfigError
from bench.speed.page import Section, duration, say
from bench.speed.steps import Run, configuration, prepare, steppers
from bench.speed.timing import interleaved, peak_flops_per_second
from bench.training.compilation import check_compiler, compile_events
from bench.training.flops import train_step_flops
from quantizers.base import deferred_finite_checks

_FRAME_TEXT = """The step of recipe `{recipe}` without a quantizer. Its matrix products and
convolutions are counted by torch's FLOP counter; the peak is that of a large {dtype} product or
convolution in the same run, and bare is what the counted work takes at that peak. With `grid=full`
the step with `compile=true` takes turns with it; compilation is no part of a step."""

_LOADER_TEXT = """Images of {size} px, read in one process, beside those that the step takes. Where
one process does not keep up, `data.workers=N` reads in N processes beside the training."""

_WARM_UP = 2
_JPEG_SIDE = 256
STEPS = {"small": 8, "full": 40}
COMPILED = {"small": False, "full": True}


def measure_frame(
    steps: int, device: torch.device, *overrides: str, compiled: bool = False
) -> Section:
    """Achieved over peak FLOP/s of one step; `compiled` adds the step with `compile=true`."""
    say("frame: step, FLOPs and peak")
    run = _run(device, overrides)
    runs = {"": run}
    if compiled and _can_compile(device):
        runs["compile=true"] = _run(device, (*overrides, "compile=true"))
    taken, compile_seconds = _step_seconds(runs, steps)
    with torch.random.fork_rng():
        flops = train_step_flops(
            run.config, run.modules(), run.images, device=device, autocast=run.autocast
        )
    dtype = torch.bfloat16 if run.autocast else torch.float32
    peak = peak_flops_per_second(device, dtype)
    rows = [
        {
            "option": f"`{label}`" if label else "-",
            "compilation": duration(compile_seconds) if label else "-",
            "step": duration(step),
            "bare": duration(flops / peak),
            "GFLOP": f"{flops / 1e9:,.1f}",
            "achieved GFLOP/s": f"{flops / step / 1e9:,.0f}",
            "peak GFLOP/s": f"{peak / 1e9:,.0f}",
            "achieved / peak": f"{flops / step / peak:.2f}",
        }
        for label, step in taken.items()
    ]
    name = str(dtype).removeprefix("torch.")
    return Section("Frame", _FRAME_TEXT.format(recipe=run.config.recipe.name, dtype=name), rows)


def measure_loader(steps: int, device: torch.device, *overrides: str) -> Section:
    """Images a second of the step and of two loaders: the recipe's data set, and JPEG files."""
    say("loader: images a second")
    run = _run(device, overrides)
    step = run.config.recipe.batch_size / _step_seconds({"": run}, steps)[0][""]
    rows = [_loader_row(run.config.data.name, run, step, steps)]
    with TemporaryDirectory() as folder:
        _write_jpeg_files(Path(folder))
        files = _run(device, (*overrides, "data=folder", f"data.root={folder}"))
        rows.append(_loader_row(f"JPEG files of {_JPEG_SIDE} px", files, step, steps))
    return Section("Loader", _LOADER_TEXT.format(size=run.config.recipe.image_size), rows)


def _loader_row(name: str, run: Run, step: float, batches: int) -> dict[str, str]:
    loader = run.batches(batches + 1)
    next(loader)  # opens what is opened once
    started = time.perf_counter()
    read = sum(len(batch.indices) for batch in loader) / (time.perf_counter() - started)
    return {
        "data": name,
        "loader, images/s": f"{read:,.0f}",
        "step, images/s": f"{step:,.0f}",
        "loader / step": f"{read / step:.1f}",
        "processes that keep up": f"{math.ceil(step / read)}",
    }


def _write_jpeg_files(folder: Path) -> None:
    """Smooth random pictures with some noise, for training and for testing."""
    generator = torch.Generator().manual_seed(0)
    for part, count in {"train": 64, "test": 2}.items():
        (folder / part).mkdir()
        coarse = torch.rand(count, 3, 8, 8, generator=generator)
        pictures = 255 * F.interpolate(coarse, size=_JPEG_SIDE, mode="bilinear")
        pictures += 8 * torch.randn(pictures.shape, generator=generator)
        for number, picture in enumerate(pictures.clamp(0, 255).byte().permute(0, 2, 3, 1)):
            Image.fromarray(picture.numpy()).save(folder / part / f"{number}.jpg", quality=90)


def _run(device: torch.device, overrides: tuple[str, ...]) -> Run:
    recipe = "base" if device.type == "cuda" else "tiny"
    return prepare(configuration("none", f"recipe={recipe}", *overrides), device)


def _can_compile(device: torch.device) -> bool:
    try:
        check_compiler(device)
    except ConfigError as error:
        say(f"frame: {error}")
        return False
    return True


def _step_seconds(runs: dict[str, Run], steps: int) -> tuple[dict[str, float], float]:
    """Median of each run's step, in turns, and the seconds of compilation before."""
    compiling: list[float] = []
    device = next(iter(runs.values())).device
    with (
        steppers(runs, 4) as each,
        deferred_finite_checks() if device.type == "cuda" else nullcontext(),
        compile_events(
            start=lambda: compiling.append(-time.perf_counter()),
            end=lambda: compiling.append(time.perf_counter()),
        ),
    ):
        for step in each.values():
            for _ in range(_WARM_UP):
                step()
        times = interleaved(each, rounds=steps, seconds=math.inf, device=device)
    return {label: taken.median for label, taken in times.items()}, math.fsum(compiling)
