"""Where the time of a call goes that misses its target: operators of torch by their own time.

On CUDA kernels take the place of operators. The rest is what is not an operator: Python, other
libraries, launches.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from bench.speed.comparison import LONG_SECONDS
from bench.speed.meter import peak_flops_per_second, synchronize, timed
from bench.speed.page import Call, MakeCall, Section, Target, duration, say
from bench.training.flops import flop_counter

_TEXT = """The call behind each target that was not reached, in torch's profiler: its time without
the profiler, how many {kinds} it runs, and the {most} that take most of the profiled time
themselves, with their number and share. `in none`: {rest}. `products alone`: what its matrix
products and searches would take at the float32 peak of this machine, which is the rate of a large
product or convolution. For a training step the call is the forward and backward pass of only the
quantizer."""

_MAX_LISTED = 5
_MAX_CALLS = 20
_MAX_NAME = 48


@dataclass(frozen=True)
class Profile:
    """One call.

    Attributes:
        seconds: without the profiler, median.
        flops: of matrix products and searches.
        counts: how often each operator runs.
        shares: each operator's own share of the profiled time; the largest first.
    """

    seconds: float
    flops: int
    counts: dict[str, int]
    shares: dict[str, float]


def where_time_goes(sections: Sequence[Section], device: torch.device) -> list[Section]:
    """The section; empty if no target with a call to show was missed."""
    targets = [target for section in sections for target in section.targets]
    missed = [(t, t.make_call) for t in targets if t.reached is False and t.make_call]
    if not missed:
        return []
    peak = peak_flops_per_second(device, torch.float32)
    on_gpu = device.type == "cuda"
    text = _TEXT.format(
        kinds="kernels" if on_gpu else "operators",
        most=_MAX_LISTED,
        rest="the time between kernels" if on_gpu else "the time of Python and of other libraries",
    )
    return [Section("Where time goes", text, [_row(*call, device, peak) for call in missed])]


def profiled(call: Call, device: torch.device) -> Profile:
    """Profiles a call as often as it fits into two seconds, at least once."""
    seconds = timed(call, device)[0]
    calls = max(1, min(_MAX_CALLS, int(LONG_SECONDS / seconds)))
    if seconds < LONG_SECONDS:  # the first call of a short one also builds and imports
        seconds = statistics.median(timed(call, device)[0] for _ in range(calls))
    kind = DeviceType.CUDA if device.type == "cuda" else DeviceType.CPU
    activities = [ProfilerActivity.CPU]
    if kind == DeviceType.CUDA:
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as recorded:
        profiled_seconds = sum(timed(call, device)[0] for _ in range(calls))
    synchronize(device)
    with flop_counter() as counter:
        call()
    events = {event.key: event for event in recorded.key_averages() if event.device_type == kind}
    own = "self_device_time_total" if kind == DeviceType.CUDA else "self_cpu_time_total"
    shares = {key: getattr(event, own) / 1e6 / profiled_seconds for key, event in events.items()}
    return Profile(
        seconds=seconds,
        flops=counter.get_total_flops(),
        counts={key: round(event.count / calls) for key, event in events.items()},
        shares=dict(sorted(shares.items(), key=lambda item: -item[1])),
    )


def _row(target: Target, make_call: MakeCall, device: torch.device, peak: float) -> dict[str, str]:
    say(f"profile: {target.what}")
    with torch.random.fork_rng():
        call = profiled(make_call(), device)
    largest = [
        f"`{name[:_MAX_NAME]}` x {call.counts[name]}: {share:.0%}"
        for name, share in list(call.shares.items())[:_MAX_LISTED]
    ]
    return {
        "target": target.what,
        "measured": target.measured,
        "call": duration(call.seconds),
        "products alone": duration(call.flops / peak) if call.flops else "-",
        "operators": f"{sum(call.counts.values()):,}",
        "most time": ", ".join(largest),
        "in none": f"{max(0.0, 1 - sum(call.shares.values())):.0%}",
    }
