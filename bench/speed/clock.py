"""Seconds of a call, the work on its device included, and the best rate that the device reaches."""

import time
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F

T = TypeVar("T")

_PAUSE_SECONDS = 0.005
_PEAK_SIZE = {"cpu": 2048, "cuda": 8192}
_PEAK_BATCH = {"cpu": 16, "cuda": 1024}


def timed(
    call: Callable[[], T],
    device: torch.device,
    *,
    pause: float = _PAUSE_SECONDS,
    repeat: int = 1,
) -> tuple[float, T]:
    """Wall-clock seconds of one call, and its result.

    Args:
        call: what to time.
        device: where it computes.
        pause: seconds to wait first: the threads of another library's pool spin for about a
            millisecond after their work and would take the cores.
        repeat: calls to make without synchronizing in between; the seconds are their mean.
    """
    synchronize(device)
    time.sleep(pause)
    started = time.perf_counter()
    for _ in range(repeat):
        result = call()
    synchronize(device)
    return (time.perf_counter() - started) / repeat, result


def synchronize(device: torch.device) -> None:
    """Waits for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_flops_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """The best of several large matrix products and convolutions: what this machine can do.

    Both are tried because they come from different libraries: on some processors the products use
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
