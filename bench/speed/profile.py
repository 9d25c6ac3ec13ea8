"""Where the time goes of calls that miss their target: operators of torch by their own time.

On CUDA kernels by theirs. What is no operator (Python, other libraries, launches) is the rest.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from bench.speed.page import Section, duration, say
from bench.speed.targets import Target
from bench.speed.timing import LONG_SECONDS, peak_flops_per_second, synchronize, timed
from bench.training.flops import flop_counter

_TEXT = """The call behind each target that was not reached, in torch's profiler: its time without
the profiler, how many {kinds} it runs, and the {most} that take most of the profiled time
themselves, with their number and share. {rest} is in none of them. `products alone`: what its
matrix products and searches would take at the float32 peak of this machine, that of a large product
or convolution. Of a training step it is the forward and backward pass of the quantizer alone."""

_MOST = 5
_CALLS = 20
_LONGEST_NAME = 48


@dataclass(frozen=True)
class Profile:
    """One call.

    Attributes:
        seconds: without the profiler, median.
        flops: of matrix products and searches.
        counts: how often each operator runs.
        shares: of the profiled time, each operator's own; the largest first.
    """

    seconds: float
    flops: int
    counts: dict[str, int]
    shares: dict[str, float]


def where_time_goes(targets: Sequence[Target], device: torch.device) -> Section | None:
    """The section; None where every target with a call to show is reached."""
    found = []
    for target in targets:
        if target.reached is False and target.set_out:
            say(f"profile: {target.what}")
            with torch.random.fork_rng():
                found.append((target, profiled(target.set_out(), device)))
    if not found:
        return None
    peak = peak_flops_per_second(device, torch.float32)
    on_gpu = device.type == "cuda"
    text = _TEXT.format(
        kinds="kernels" if on_gpu else "operators",
        most=_MOST,
        rest="The time between kernels" if on_gpu else "The time of Python and of other libraries",
    )
    return Section("Where time goes", text, [_row(*each, peak) for each in found])


def profiled(call: Callable[[], Any], device: torch.device) -> Profile:
    """Profiles a call, as often as it fits into two seconds, at least once."""
    seconds = timed(call, device)[0]
    calls = max(1, min(_CALLS, int(LONG_SECONDS / seconds)))
    if seconds < LONG_SECONDS:  # the first call of a short one also builds and imports
        seconds = statistics.median(timed(call, device)[0] for _ in range(calls))
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as recorded:
        taken = sum(timed(call, device)[0] for _ in range(calls))
    synchronize(device)
    with flop_counter() as counter:
        call()
    counts, shares = {}, {}
    for event in recorded.key_averages():
        on_device = event.device_type == DeviceType.CUDA
        if on_device != (device.type == "cuda"):
            continue
        own = event.self_device_time_total if on_device else event.self_cpu_time_total
        counts[event.key] = round(event.count / calls)
        shares[event.key] = own / 1e6 / taken
    ordered = sorted(shares, key=lambda name: -shares[name])
    flops = counter.get_total_flops()
    return Profile(seconds, flops, counts, {name: shares[name] for name in ordered})


def _row(target: Target, found: Profile, peak: float) -> dict[str, str]:
    top = list(found.shares)[:_MOST]
    named = (
        f"`{name[:_LONGEST_NAME]}` x {found.counts[name]}: {found.shares[name]:.0%}" for name in top
    )
    rest = max(0.0, 1 - sum(found.shares.values()))
    return {
        "target": target.what,
        "measured": target.measured,
        "call": duration(found.seconds),
        "products alone": duration(found.flops / peak) if found.flops else "-",
        "operators": f"{sum(found.counts.values()):,}",
        "most time": ", ".join(named),
        "in none": f"{rest:.0%}",
    }
