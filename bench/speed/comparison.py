"""Compares calls that do the same work: interleaved times, extra memory, results.

Every section of the page is such a comparison. The first measured call of a contender gives its
memory. Then all contenders take turns, so that whatever slows the machine slows all of them. A
short call is made twice and timed the second time, because the other calls and the pause before it
leave cold caches and sleeping threads.
"""

import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch

from bench.speed.meter import memory_limit, timed, with_extra_peak
from bench.speed.page import MakeCall, duration, megabytes, say
from bench.training.interrupt import StopRequest

Size = TypeVar("Size")

LONG_SECONDS = 2.0
_MIN_ROUNDS = 3
_SHORT_SECONDS = 0.02


@dataclass(frozen=True)
class Grid(Generic[Size]):
    """Which sizes a section measures, and for how long.

    Attributes:
        sizes: what varies, in the order measured.
        rounds: of interleaved calls at each size, at most.
        size_seconds: after three rounds, no further round begins that would pass them.
        seconds: of the whole section; sizes after that are left out.
    """

    sizes: Sequence[Size]
    rounds: int
    size_seconds: float = math.inf
    seconds: float = math.inf

    def within(self, name: str, stop: StopRequest) -> Iterator[Size]:
        """The sizes, until time is up or Ctrl-C came; then says how many are left out."""
        started = time.perf_counter()
        for place, size in enumerate(self.sizes):
            late = time.perf_counter() - started > self.seconds
            if late or stop.requested:
                reason = f"time is up after {self.seconds:.0f} s" if late else "stopped"
                say(f"{name}: {reason}; {len(self.sizes) - place} left out")
                return
            say(f"{name}: {size}")
            yield size

    def turns(self, stop: StopRequest) -> Iterator[int]:
        """The rounds at one size, until time is up or Ctrl-C came."""
        started = time.perf_counter()
        for done in range(self.rounds):
            passed = time.perf_counter() - started
            late = done >= _MIN_ROUNDS and passed + passed / done > self.size_seconds
            if late or (done and stop.requested):
                return
            yield done

    def left_out(self, measured: int) -> str:
        """A sentence for the page on what `within` did not yield."""
        total = len(self.sizes)
        if measured == total:
            return ""
        return f" Left out for lack of time: the last {total - measured} of {total} sizes."


class RefusalError(RuntimeError):
    """A call should not begin; the message says why."""


@dataclass
class Measurement:
    """What is known of one contender.

    Attributes:
        seconds: of each round; of the first call where there was only one.
        extra_bytes: peak beyond what was held before; None where unknown.
        results: of all calls measured.
        wrong: rows of the results that are wrong.
        note: why there is no time.
    """

    seconds: list[float] = field(default_factory=list)
    extra_bytes: int | None = None
    results: list[Any] = field(default_factory=list)
    wrong: int = 0
    note: str = ""

    @property
    def median(self) -> float:
        """Seconds; infinite where there is no time."""
        return statistics.median(self.seconds) if self.seconds else math.inf

    @property
    def right(self) -> bool:
        """Whether it ran, and all results are right."""
        return bool(self.seconds) and not self.wrong

    def over(self, other: "Measurement") -> float:
        """Our time over another's; infinite where ours is wrong or missing."""
        return self.median / other.median if self.right else math.inf

    def __str__(self) -> str:
        """As in the table."""
        if not self.seconds:
            return self.note
        text = f"{duration(self.median)}, {megabytes(self.extra_bytes)}"
        return f"{text}, wrong in {self.wrong:,} rows" if self.wrong else text


def measure(
    contenders: Mapping[str, MakeCall],
    grid: Grid[Any],
    device: torch.device,
    *,
    warm_up: int = 0,
    repeat: int = 1,
    once: bool = True,
    required: Sequence[str] = (),
    stop: StopRequest | None = None,
) -> dict[str, Measurement]:
    """First calls one after another, then turns.

    Args:
        contenders: by name, in the order of their turns, what prepares the call that is timed. It
            raises ImportError where a library is not installed, and RefusalError.
        grid: rounds and their seconds.
        device: where all contenders compute.
        warm_up: calls of each contender before its first measured call.
        repeat: calls timed together without synchronizing in between.
        once: call a contender only once if that takes `LONG_SECONDS` or more.
        required: contenders whose errors are raised; the errors of others are only noted.
        stop: ends the turns after a round.
    """
    measurements, calls = {name: Measurement() for name in contenders}, {}
    for name, measurement in measurements.items():
        try:
            call = contenders[name]()
            for _ in range(warm_up):
                call()
            seconds, measurement.extra_bytes, result = with_extra_peak(call, device)
        except ImportError:
            measurement.note = "not installed"
        except RefusalError as refusal:
            measurement.note = str(refusal)
        except Exception as error:
            if name in required:
                raise
            measurement.note = "failed"
            say(f"  {name} failed: {type(error).__name__}: {error}")
        else:
            measurement.seconds, measurement.results = [seconds], [result]
            if not (once and seconds >= LONG_SECONDS):
                calls[name] = call
    for done in grid.turns(stop or StopRequest()):
        for name, call in calls.items():
            seconds, result = timed(call, device, repeat=repeat)
            if seconds * repeat < _SHORT_SECONDS:
                seconds, result = timed(call, device, pause=0.0, repeat=repeat)
            measurement = measurements[name]
            measurement.seconds = [*(measurement.seconds if done else ()), seconds]
            measurement.results.append(result)
    return measurements


def check_memory(needed: int, device: torch.device) -> None:
    """Refuses a call that needs so many bytes.

    Raises:
        RefusalError: they are not free.
    """
    if needed > memory_limit(device):
        raise RefusalError(f"needs {needed / 1e9:,.0f} GB")
