"""Compares calls that do the same work: interleaved times, extra memory, results.

Every section of the page is such a comparison. The first measured call of a contender gives its
memory. Then all contenders take turns, so that whatever slows the machine slows all of them. A
short call is made twice and timed the second time, because the other calls and the pause before it
leave cold caches and sleeping threads.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch

from bench.speed.clock import timed
from bench.speed.memory import memory_limit, with_extra_peak
from bench.speed.page import Call, MakeCall, duration, megabytes, say
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

    def left_out(self, measured: int) -> str:
        """A sentence for the page on what `within` did not yield."""
        total = len(self.sizes)
        if measured == total:
            return ""
        return f" Left out for lack of time: the last {total - measured} of {total} sizes."


@dataclass(frozen=True)
class Contender:
    """One way to do the work.

    Attributes:
        make_call: prepares the call that is timed. Raises ImportError where a library is not
            installed.
        refusal: why the call should not begin, e.g. `over_memory`; empty if it should.
        own_seconds: reads the time from the result of a call that times itself.
    """

    make_call: MakeCall
    refusal: Callable[[], str] = str
    own_seconds: Callable[[Any], float] | None = None


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


@dataclass(frozen=True)
class Comparison:
    """Contenders that do the same work on the same device.

    Attributes:
        contenders: by name, in the order of their turns.
        rounds, seconds: as `rounds` and `size_seconds` of a grid.
        warm_up: calls of each contender before its first measured call.
        repeat: calls timed together without synchronizing in between.
        once: call a contender only once if that takes `LONG_SECONDS` or more.
        required: contenders whose errors are raised; those of others are only noted.
    """

    contenders: Mapping[str, Contender]
    device: torch.device
    rounds: int
    seconds: float = math.inf
    warm_up: int = 0
    repeat: int = 1
    once: bool = True
    required: Sequence[str] = ()

    def measure(self, stop: StopRequest | None = None) -> dict[str, Measurement]:
        """First calls one after another, then turns; a stop ends the turns after a round."""
        measurements = {name: Measurement() for name in self.contenders}
        calls = {}
        for name, measurement in measurements.items():
            call = self._first_call(name, measurement)
            if call and not (self.once and measurement.median >= LONG_SECONDS):
                calls[name] = call
        self._in_turns(calls, measurements, stop or StopRequest())
        return measurements

    def _first_call(self, name: str, measurement: Measurement) -> Call | None:
        contender = self.contenders[name]
        try:
            measurement.note = contender.refusal()
            if measurement.note:
                return None
            call = contender.make_call()
            for _ in range(self.warm_up):
                call()
            seconds, measurement.extra_bytes, result = with_extra_peak(call, self.device)
        except ImportError:
            measurement.note = "not installed"
            return None
        except Exception as error:
            if name in self.required:
                raise
            measurement.note = "failed"
            say(f"  {name} failed: {type(error).__name__}: {error}")
            return None
        measurement.seconds, measurement.results = [seconds], [result]
        return call

    def _in_turns(
        self, calls: Mapping[str, Call], measurements: Mapping[str, Measurement], stop: StopRequest
    ) -> None:
        started = time.perf_counter()
        for done in range(1, self.rounds + 1):
            for name, call in calls.items():
                seconds, result = self._timed(call, self.contenders[name])
                measurement = measurements[name]
                measurement.seconds = [*(measurement.seconds if done > 1 else ()), seconds]
                measurement.results.append(result)
            passed = time.perf_counter() - started
            late = done >= _MIN_ROUNDS and passed + passed / done > self.seconds
            if late or stop.requested:
                return

    def _timed(self, call: Call, contender: Contender) -> tuple[float, Any]:
        seconds, result = timed(call, self.device, repeat=self.repeat)
        if seconds * self.repeat < _SHORT_SECONDS:
            seconds, result = timed(call, self.device, pause=0.0, repeat=self.repeat)
        return contender.own_seconds(result) if contender.own_seconds else seconds, result


def over_memory(needed: int, device: torch.device) -> str:
    """Why a call that needs so many bytes should not begin; empty where they are free."""
    return f"needs {needed / 1e9:,.0f} GB" if needed > memory_limit(device) else ""
