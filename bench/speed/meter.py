"""Seconds and peak memory of a call, and the best rate that its device reaches."""

import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F

T = TypeVar("T")

PROC = Path("/proc")
_PAUSE_SECONDS = 0.005
_PEAK_SIZE = {"cpu": 2048, "cuda": 8192}
_PEAK_BATCH = {"cpu": 16, "cuda": 1024}
_MAX_BYTES = 16 * 2**30


def timed(
    call: Callable[[], T], device: torch.device, *, pause: float = _PAUSE_SECONDS, repeat: int = 1
) -> tuple[float, T]:
    """Wall-clock seconds of one call, including its work on the device, and its result.

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


def with_extra_peak(call: Callable[[], T], device: torch.device) -> tuple[float, int | None, T]:
    """Seconds, bytes beyond those held before (None where they cannot be known), and the result.

    On a CPU it is the high-water mark of this process's resident memory, which Linux can reset,
    after the C library has returned what was freed: so the memory of every library counts, not only
    torch's. Buffers that a library keeps between calls count in its first call. On CUDA it is what
    torch allocated.
    """
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        seconds, result = timed(call, device)
        return seconds, torch.cuda.max_memory_allocated(device) - before, result
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        (PROC / "self/clear_refs").write_text("5", encoding="utf-8")
    except (OSError, AttributeError):
        seconds, result = timed(call, device)
        return seconds, None, result
    before = _kernel_bytes("self/status", "VmRSS")
    seconds, result = timed(call, device)
    return seconds, max(0, _kernel_bytes("self/status", "VmHWM") - before), result


def memory_limit(device: torch.device) -> int:
    """Bytes that a call may take: half of what is free, at most 16 GiB on a CPU."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 2
    try:
        return min(_MAX_BYTES, _kernel_bytes("meminfo", "MemAvailable") // 2)
    except (OSError, ValueError):
        return _MAX_BYTES // 4


def _kernel_bytes(file: str, field: str) -> int:
    lines = (PROC / file).read_text(encoding="utf-8").splitlines()
    (kibibytes,) = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(kibibytes) * 1024


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
