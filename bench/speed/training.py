"""How long the training step takes with each quantizer, over the same step with none."""

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from bench.conf.schema import ConfigError
from bench.speed.page import Section, duration, say
from bench.speed.steps import (
    Run,
    Stepper,
    configuration,
    nearest_rate,
    prepare,
    quantizer_alone,
    steppers,
)
from bench.speed.targets import Target, at_most, times
from bench.speed.timing import synchronize
from bench.training.interrupt import StopRequest
from quantizers import lookup
from quantizers.base import deferred_finite_checks

_TEXT = """Recipe `{recipe}`, batch of {batch}, the whole step of `bench.training.trainer`.
`over none`: median over rounds of a quantizer's time by that of `none` in the same round. The
second `none` is a control: what it is off 1 is noise. {rounds} rounds after {warm_up} steps."""

NONE, CONTROL = "none", "none, again"
_WARM_UP = 2
_MOST_CODES = 4096  # in a codebook of the methods that the target is for


@dataclass(frozen=True)
class Length:
    """How much to measure.

    Attributes:
        rounds: in each, every quantizer does one step; on CUDA ten.
        seconds: no round begins that would pass them.
        large: codebook sizes in bits at which `vq` and `gsq` are measured too.
    """

    rounds: int
    seconds: float
    large: tuple[int, ...] = ()


GRIDS = {"small": Length(6, 40.0, (12, 14, 16)), "full": Length(40, 300.0, (12, 14, 16))}
LARGER_GRIDS = {"small": Length(3, 30.0), "full": Length(10, 120.0)}
_LARGER = {
    "cpu": ("recipe=base", "recipe.batch_size=2"),
    "cuda": (
        *("recipe=paper", "recipe.batch_size=16", "data=deadleaves"),
        "recipe.losses.perceptual=lpips_rand",  # needs no weights
    ),
}
_AT_LARGER_SIZES = ("fsq", "gsq", "lfq", "vq")
_LARGE = {
    "vq": lambda bits: (bits, [f"quantizer.codebook_size={2**bits}"]),
    "gsq": lambda bits: (
        2 * bits,
        [
            "quantizer.groups=2",
            "quantizer.group_channels=8",
            f"quantizer.codebook_size={2**bits}",
        ],
    ),
}


def measure(
    names: Sequence[str],
    length: Length,
    device: torch.device,
    *,
    stop: StopRequest,
    overrides: Sequence[str] = (),
) -> Section:
    """The whole section, with its target.

    Args:
        names: of quantizers.
        length: how much to measure.
        device: on a GPU the recipe is `base`, on a CPU `tiny`.
        stop: ends the rounds.
        overrides: of the configuration, as on the command line of `bench.run`.
    """
    words = [f"recipe={'base' if device.type == 'cuda' else 'tiny'}", *overrides]
    runs = _runs(names, length, device, words)
    ratios, text, rows = _table(runs, length, device, stop)
    return Section("Training step", text, rows, [_target(runs, ratios, device)])


def measure_larger(
    names: Sequence[str],
    length: Length,
    device: torch.device,
    *,
    stop: StopRequest,
    overrides: Sequence[str] = (),
) -> Section:
    """The next larger recipe for some quantizers: `paper` on a GPU, `base` on a CPU.

    Its batch is smaller than the recipe's, so that all trainers fit into memory. Arguments are
    those of `measure`.
    """
    runs = _runs(
        [name for name in names if name in _AT_LARGER_SIZES],
        length,
        device,
        [*_LARGER[device.type], *overrides],
    )
    _, text, rows = _table(runs, length, device, stop)
    return Section("Training step of a larger recipe", text, rows)


def _table(
    runs: dict[str, Run], length: Length, device: torch.device, stop: StopRequest
) -> tuple[dict[str, float], str, list[dict[str, str]]]:
    """Time over that of `none` by label, and text and rows of the section."""
    with steppers(runs, _WARM_UP + length.rounds) as each:
        say(f"training: {len(each)} trainers, up to {length.rounds} rounds")
        seconds = _rounds(each, length, device, stop)
    recipe = runs[NONE].config.recipe
    ratios = {
        label: statistics.median(own / none for own, none in zip(taken, seconds[NONE], strict=True))
        for label, taken in seconds.items()
    }
    rows = [
        {
            "quantizer": f"`{runs[label].point.name}`{', again' if label == CONTROL else ''}",
            "operating point": runs[label].point.label,
            "step": duration(statistics.median(taken)),
            "over none": f"{ratios[label]:.3f}",
        }
        for label, taken in seconds.items()
    ]
    text = _TEXT.format(
        recipe=recipe.name, batch=recipe.batch_size, warm_up=_WARM_UP, rounds=len(seconds[NONE])
    )
    return ratios, text, rows


def _runs(
    names: Sequence[str], length: Length, device: torch.device, words: Sequence[str]
) -> dict[str, Run]:
    """By label: `none` twice, every quantizer at 10 bits or near, and some with more codes."""
    runs = {label: prepare(configuration(NONE, *words), device) for label in (NONE, CONTROL)}
    for name in names:
        if name == NONE:
            continue
        try:
            rate = nearest_rate(name)
            runs[name] = prepare(configuration(name, f"rate={rate:g}", *words), device)
        except ConfigError as error:
            say(f"training: {name} left out: {error}")
        for bits in length.large if name in _LARGE else ():
            rate, settings = _LARGE[name](bits)
            config = configuration(name, f"rate={rate}", *settings, *words)
            runs[f"{name}, V=2^{bits}"] = prepare(config, device)
    return runs


def _rounds(
    each: dict[str, Stepper], length: Length, device: torch.device, stop: StopRequest
) -> dict[str, list[float]]:
    """Seconds of a step, a list a trainer with one entry a round; drops trainers that fail."""
    steps = 10 if device.type == "cuda" else 1
    deferred = deferred_finite_checks() if device.type == "cuda" else nullcontext(lambda: None)
    with deferred as check_latents:
        for label in list(each):
            _warm_up(label, each)
        seconds: dict[str, list[float]] = {label: [] for label in each}
        started = time.perf_counter()
        for done in range(1, length.rounds + 1):
            for label, stepper in each.items():
                seconds[label].append(_seconds(stepper, steps, device))
                stepper.forget()
            check_latents()
            passed = time.perf_counter() - started
            if passed + passed / done > length.seconds or stop.requested:
                say(
                    f"training: {'stopped' if stop.requested else 'time is up'} after {done} rounds"
                )
                break
    return seconds


def _warm_up(label: str, each: dict[str, Stepper]) -> None:
    """A quantizer that cannot do a step is a line, and the others go on."""
    try:
        for _ in range(_WARM_UP):
            each[label]()
    except Exception as error:
        if label == NONE:
            raise
        del each[label]
        say(f"training: {label} left out: {type(error).__name__}: {error}")


def _seconds(step: Callable[[], None], steps: int, device: torch.device) -> float:
    """Of one step, from several without a wait in between."""
    synchronize(device)
    started = time.perf_counter()
    for _ in range(steps):
        step()
    synchronize(device)
    return (time.perf_counter() - started) / steps


def _target(runs: dict[str, Run], ratios: dict[str, float], device: torch.device) -> Target:
    """Over all methods that compete, up to so many codes in a codebook."""
    limit, recipe = 1.05 if device.type == "cuda" else 1.1, runs[NONE].config.recipe.name
    values = {
        label: ratio
        for label, ratio in ratios.items()
        if lookup(runs[label].point.name).control is None and _codes(runs[label]) <= _MOST_CODES
    }
    what = f"{recipe} step: at most {limit:g} times that of none, V up to {_MOST_CODES:,}"
    calls = {label: functools.partial(quantizer_alone, runs[label]) for label in values}
    return at_most(what, values, limit, times, calls)


def _codes(run: Run) -> int:
    """In the largest codebook."""
    with torch.random.fork_rng():
        return max(run.point.build().codebook_sizes, default=0)
