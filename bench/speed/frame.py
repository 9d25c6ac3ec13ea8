"""The step without a quantizer beside the bare sum of its matrix work, and the loader beside it."""

import statistics
import time

import torch

from bench.flops import train_step_flops
from bench.speed.page import Section, duration, say
from bench.speed.steps import Run, configuration, prepare, steppers
from bench.speed.timing import peak_flops_per_second, timed

_FRAME_TEXT = """The step of recipe `{recipe}` without a quantizer. Its matrix products and
convolutions are counted by torch's FLOP counter; the peak is that of a large {dtype} product or
convolution in the same run, and bare is what the counted work takes at that peak."""

_LOADER_TEXT = """Data set `{data}` at {size} px, read in the training process; a step waits for the
loader where it reads fewer images than the step takes."""

_WARM_UP = 2
STEPS = {"small": 8, "full": 40}


def measure_frame(steps: int, device: torch.device, *overrides: str) -> Section:
    """Achieved over peak FLOP/s of one step."""
    say("frame: step, FLOPs and peak")
    run = _run(device, overrides)
    step = _step_seconds(run, steps)
    with torch.random.fork_rng():
        flops = train_step_flops(
            run.config, run.modules(), run.images, device=device, autocast=run.autocast
        )
    dtype = torch.bfloat16 if run.autocast else torch.float32
    peak = peak_flops_per_second(device, dtype)
    row = {
        "step": duration(step),
        "bare": duration(flops / peak),
        "GFLOP": f"{flops / 1e9:,.1f}",
        "achieved GFLOP/s": f"{flops / step / 1e9:,.0f}",
        "peak GFLOP/s": f"{peak / 1e9:,.0f}",
        "achieved / peak": f"{flops / step / peak:.2f}",
    }
    name = str(dtype).removeprefix("torch.")
    return Section("Frame", _FRAME_TEXT.format(recipe=run.config.recipe.name, dtype=name), [row])


def measure_loader(steps: int, device: torch.device, *overrides: str) -> Section:
    """Images a second of loader and step."""
    say("loader: images a second")
    run = _run(device, overrides)
    batch_size, step = run.config.recipe.batch_size, _step_seconds(run, steps)
    batches = run.batches(steps + 1)
    next(batches)  # opens what is opened once
    started = time.perf_counter()
    read = sum(len(batch.indices) for batch in batches)
    loader = read / (time.perf_counter() - started)
    row = {
        "loader, images/s": f"{loader:,.0f}",
        "step, images/s": f"{batch_size / step:,.0f}",
        "loader / step": f"{loader * step / batch_size:.1f}",
    }
    config = run.config
    text = _LOADER_TEXT.format(data=config.data.name, size=config.recipe.image_size)
    return Section("Loader", text, [row])


def _run(device: torch.device, overrides: tuple[str, ...]) -> Run:
    recipe = "base" if device.type == "cuda" else "tiny"
    return prepare(configuration("none", f"recipe={recipe}", *overrides), device)


def _step_seconds(run: Run, steps: int) -> float:
    with steppers({"none": run}, 4) as each:
        for _ in range(_WARM_UP):
            each["none"]()
        return statistics.median(timed(each["none"], run.device)[0] for _ in range(steps))
