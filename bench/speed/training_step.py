"""Sections "Training step": each quantizer over none, and the same in a larger recipe."""

import statistics
from collections.abc import Mapping, Sequence
from functools import partial

import torch

from bench.command_line import UsageError
from bench.speed.comparison import Grid
from bench.speed.page import Section, Target, duration, say, times
from bench.speed.steps import (
    WARM_UP,
    Run,
    compare_steps,
    configuration,
    nearest_rate,
    prepare,
    quantizer_call,
    usual_recipe,
)
from bench.training.interrupt import StopRequest

_TEXT = """Recipe `{recipe.name}`, batch of {recipe.batch_size}, the whole step of
`bench.training.trainer`. `over none`: median over rounds of a quantizer's time divided by the time
of `none` in the same round. The second `none` is a control: its difference from 1 is noise.
{rounds} rounds after {warm_up} steps."""

NONE, CONTROL = "none", "none, again"
_MAX_CODES = 4096  # in a codebook of the methods that the target is for

# sizes: codebooks in bits at which `vq` and `gsq` are measured too
GRIDS = {
    "small": Grid((12, 14, 16), rounds=6, size_seconds=40.0),
    "full": Grid((12, 14, 16), rounds=40, size_seconds=300.0),
}
LARGER_GRIDS: dict[str, Grid[int]] = {
    "small": Grid((), rounds=3, size_seconds=30.0),
    "full": Grid((), rounds=10, size_seconds=120.0),
}
# the next larger recipe, with a smaller batch, so that all trainers fit into memory
LARGER = {
    "cpu": ("recipe=base", "recipe.batch_size=2"),
    "cuda": (
        *("recipe=paper", "recipe.batch_size=16", "data=deadleaves"),
        "recipe.losses.perceptual=lpips_rand",  # needs no weights
    ),
}
_AT_LARGER_SIZES = ("fsq", "gsq", "lfq", "vq")
_MORE_CODES = {  # codebooks to build, and settings beside their size
    "vq": (1, ()),
    "gsq": (2, ("quantizer.groups=2", "quantizer.group_channels=8")),
}


def section(
    grid: Grid[int],
    device: torch.device,
    stop: StopRequest,
    *,
    quantizers: Sequence[str],
    larger: bool = False,
    overrides: Sequence[str] = (),
) -> Section:
    """The usual recipe, with a target; or the next larger recipe for some of the quantizers."""
    title, recipe = "Training step", usual_recipe(device)
    if larger:
        title, recipe = f"{title} of a larger recipe", LARGER[device.type]
        quantizers = [name for name in quantizers if name in _AT_LARGER_SIZES]
    runs = runs_of(quantizers, grid, device, [*recipe, *overrides])
    say(f"training: {len(runs)} trainers, up to {grid.rounds} rounds")
    repeat = 10 if device.type == "cuda" else 1
    cells = compare_steps(runs, grid, repeat=repeat, required=[NONE], stop=stop)
    cells = {label: cell for label, cell in cells.items() if cell.seconds}
    none = cells[NONE].seconds
    ratios = {
        label: statistics.median(a / b for a, b in zip(cell.seconds, none, strict=True))
        for label, cell in cells.items()
    }
    rows = [
        {
            "quantizer": f"`{runs[label].point.name}`{', again' if label == CONTROL else ''}",
            "operating point": runs[label].point.label,
            "step": duration(cell.median),
            "over none": f"{ratios[label]:.3f}",
        }
        for label, cell in cells.items()
    ]
    text = _TEXT.format(recipe=runs[NONE].config.recipe, warm_up=WARM_UP, rounds=len(none))
    return Section(title, text, rows, () if larger else [target(runs, ratios, device)])


def runs_of(
    names: Sequence[str], grid: Grid[int], device: torch.device, words: Sequence[str]
) -> dict[str, Run]:
    """By label: `none` twice, every quantizer at 10 bits or near, and some with more codes."""
    runs = {label: prepare(configuration(NONE, *words), device) for label in (NONE, CONTROL)}
    for name in names:
        if name == NONE:
            continue
        try:
            rate = nearest_rate(name)
            runs[name] = prepare(configuration(name, f"rate={rate:g}", *words), device)
        except UsageError as error:
            say(f"training: {name} left out: {error}")
        for bits in grid.sizes if name in _MORE_CODES else ():
            codebooks, settings = _MORE_CODES[name]
            size = (f"rate={codebooks * bits}", f"quantizer.codebook_size={2**bits}")
            config = configuration(name, *size, *settings, *words)
            runs[f"{name}, V=2^{bits}"] = prepare(config, device)
    return runs


def target(runs: Mapping[str, Run], ratios: Mapping[str, float], device: torch.device) -> Target:
    """For all methods that compete, up to a size of the codebook."""
    limit, recipe = 1.05 if device.type == "cuda" else 1.1, runs[NONE].config.recipe.name
    values = {}
    for label, ratio in ratios.items():
        point = runs[label].point
        with torch.random.fork_rng():
            codes = max(point.build().codebook_sizes, default=0)
        if point.control is None and codes <= _MAX_CODES:
            values[label] = ratio
    what = f"{recipe} step: at most {limit:g} times that of none, V up to {_MAX_CODES:,}"
    calls = {label: partial(quantizer_call, runs[label]) for label in values}
    return Target.of(what, values, times, at_most=limit, calls=calls)
