"""Sections "Frame", the step without a quantizer beside its bare matrix work, and "Loader"."""

import math
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image

from bench.command_line import UsageError
from bench.speed.comparison import Grid
from bench.speed.judge_time import pictures
from bench.speed.meter import peak_flops_per_second
from bench.speed.page import Call, Section, duration, say
from bench.speed.steps import WARM_UP, Run, compare_steps, configuration, prepare, usual_recipe
from bench.training.compilation import check_compiler, compile_events
from bench.training.flops import train_step_flops
from bench.training.interrupt import StopRequest

_FRAME_TEXT = """The step of recipe `{recipe}` without a quantizer. Its matrix products and
convolutions are counted by torch's FLOP counter; the peak is the rate of a large {dtype} product or
convolution in the same run, and bare is what the counted work takes at that peak. With `grid=full`
the step with `compile=true` takes turns with it; compilation is not part of a step."""

_LOADER_TEXT = """Images of {size} px, read in one process, beside those that the step takes. Where
one process does not keep up, `data.workers=N` reads in N processes during the training."""

_JPEG_SIDE = 256
GRIDS = {"small": Grid(("",), rounds=8), "full": Grid(("", "compile=true"), rounds=40)}  # options


def frame_section(
    grid: Grid[str], device: torch.device, stop: StopRequest, *overrides: str
) -> Section:
    """Achieved over peak FLOP/s of one step, with each option."""
    say("frame: step, FLOPs and peak")
    options = [option for option in grid.sizes if not option or _can_compile(device)]
    runs = {option: _run(device, *overrides, *option.split()) for option in options}
    run, compiling = runs[""], [0.0]
    with compile_events(
        start=lambda: compiling.append(-time.perf_counter()),
        end=lambda: compiling.append(time.perf_counter()),
    ):
        cells = compare_steps(runs, grid, required=options)
    with torch.random.fork_rng():
        flops = train_step_flops(
            run.config, run.modules(), run.images, device=device, autocast=run.autocast
        )
    dtype = torch.bfloat16 if run.autocast else torch.float32
    peak = peak_flops_per_second(device, dtype)
    rows = [
        {
            "option": f"`{option}`" if option else "-",
            "compilation": duration(math.fsum(compiling)) if option else "-",
            "step": duration(cell.median),
            "bare": duration(flops / peak),
            "GFLOP": f"{flops / 1e9:,.1f}",
            "achieved GFLOP/s": f"{flops / cell.median / 1e9:,.0f}",
            "peak GFLOP/s": f"{peak / 1e9:,.0f}",
            "achieved / peak": f"{flops / cell.median / peak:.2f}",
        }
        for option, cell in cells.items()
    ]
    name = str(dtype).removeprefix("torch.")
    return Section("Frame", _FRAME_TEXT.format(recipe=run.config.recipe.name, dtype=name), rows)


def loader_section(
    grid: Grid[str], device: torch.device, stop: StopRequest, *overrides: str
) -> Section:
    """Images a second of the step and of two loaders: the recipe's data set, and JPEG files."""
    say("loader: images a second")
    run = _run(device, *overrides)
    with TemporaryDirectory() as folder:
        _write_jpeg_files(Path(folder))
        files = _run(device, *overrides, "data=folder", f"data.root={folder}")
        count = 2 * (WARM_UP + grid.rounds)
        others = {
            run.config.data.name: partial(_read_call, run, count),
            f"JPEG files of {_JPEG_SIDE} px": partial(_read_call, files, count),
        }
        cells = compare_steps({"step": run}, grid, others=others, required=["step", *others])
    recipe, step = run.config.recipe, cells.pop("step").median
    rows = [
        {
            "data": name,
            "loader, images/s": f"{recipe.batch_size / cell.median:,.0f}",
            "step, images/s": f"{recipe.batch_size / step:,.0f}",
            "loader / step": f"{step / cell.median:.1f}",
            "processes that keep up": f"{math.ceil(cell.median / step)}",
        }
        for name, cell in cells.items()
    ]
    return Section("Loader", _LOADER_TEXT.format(size=recipe.image_size), rows)


def _read_call(run: Run, batches: int) -> Call:
    """Reads the next batch."""
    loader = run.batches(batches)
    return lambda: len(next(loader).indices)


def _write_jpeg_files(folder: Path) -> None:
    for part, count in {"train": 64, "test": 2}.items():
        (folder / part).mkdir()
        noisy = pictures(count, side=_JPEG_SIDE, coarse=8)[1]
        for number, picture in enumerate(noisy.permute(0, 2, 3, 1)):
            Image.fromarray(picture.numpy()).save(folder / part / f"{number}.jpg", quality=90)


def _run(device: torch.device, *overrides: str) -> Run:
    return prepare(configuration("none", *usual_recipe(device), *overrides), device)


def _can_compile(device: torch.device) -> bool:
    try:
        check_compiler(device)
    except UsageError as error:
        say(f"frame: {error}")
        return False
    return True
