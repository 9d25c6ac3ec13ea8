"""Times of calls that take turns, so that whatever slows the machine slows all of them.

A pause goes before every call: the threads of another library's pool spin for about a millisecond
after their work and would take the cores. A short call is made twice and timed the second time,
since the calls of others and the pause leave it cold caches and sleeping threads. A call that takes
long is timed once: that makes no difference to it.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.nn.functional as F

from bench.speed.page import say
from bench.training.interrupt import StopRequest

T = TypeVar("T")

LONG_SECONDS = 2.0
_LEAST_ROUNDS = 3
_PAUSE_SECONDS = 0.005
_SHORT_SECONDS = 0.02
_PEAK_SIZE = {"cpu": 2048, "cuda": 8192}
_PEAK_BATCH = {"cpu": 16, "cuda": 1024}


@dataclass
class Times:
    """Seconds of one call, of each time that it was made."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def timed(
    call: Callable[[], T], device: torch.device, *, pause: float = _PAUSE_SECONDS
) -> tuple[float, T]:
    """Wall-clock seconds of a call, the work on its device included, and its result."""
    synchronize(device)
    time.sleep(pause)
    started = time.perf_counter()
    result = call()
    synchronize(device)
    return time.perf_counter() - started, result


def synchronize(device: torch.device) -> None:
    """Waits for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(
    calls: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    seconds: float,
    device: torch.device,
) -> dict[str, Times]:
    """Times calls that are warm, each once a round.

    Args:
        calls: by name; those that ran before for at least `LONG_SECONDS` do not belong here.
        rounds: at most.
        seconds: after three rounds, no further one begins that would pass them.
        device: where the calls compute.
    """
    times = {name: Times() for name in calls}
    started = time.perf_counter()
    for done in range(1, rounds + 1):
        for name, call in calls.items():
            took, _ = timed(call, device)
            if took < _SHORT_SECONDS:
                took, _ = timed(call, device, pause=0.0)
            times[name].seconds.append(took)
        passed = time.perf_counter() - started
        if done >= _LEAST_ROUNDS and passed + passed / done > seconds:
            break
    return times


def within(seconds: float, items: Iterable[T], what: str, stop: StopRequest) -> Iterator[T]:
    """The items, until time is up or Ctrl-C came; then says how many are left out."""
    started, items = time.perf_counter(), list(items)
    for place, item in enumerate(items):
        late = time.perf_counter() - started > seconds
        if late or stop.requested:
            reason = f"time is up after {seconds:.0f} s" if late else "stopped"
            say(f"{what}: {reason}; {len(items) - place} left out")
            return
        yield item


def left_out(planned: int, measured: int) -> str:
    """A sentence for the page on what `within` did not yield."""
    missing = planned - measured
    if not missing:
        return ""
    return f" Left out for lack of time: the last {missing} of {planned} sizes."


def peak_flops_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """The best of several large matrix products and convolutions: what this machine can do.

    Both are tried, since they come from different libraries: on some processors the products use
    narrower registers than the convolutions.
    """
    size, batch = _PEAK_SIZE[device.type], _PEAK_BATCH[device.type]
    a, b = torch.ones(2, size, size, device=device, dtype=dtype)
    images = torch.ones(batch, 256, 32, 32, device=device, dtype=dtype)
    images = images.contiguous(memory_format=torch.channels_last)
    weight = torch.ones(256, 256, 3, 3, device=device, dtype=dtype)
    work = {
        2 * size**3: lambda: a @ b,
        2 * 9 * images.numel() * 256: lambda: F.conv2d(images, weight, padding=1),
    }
    for call in work.values():
        call()
    return max(
        flops / min(timed(call, device)[0] for _ in range(5)) for flops, call in work.items()
    )
