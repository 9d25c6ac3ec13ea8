"""Peak memory of a call beyond what was held before it.

On a CPU it is the high-water mark of this process's resident memory, which Linux can reset, after
the C library has returned what was freed: so the memory of every library counts, not only torch's.
Buffers that a library keeps between calls count in its first call. On CUDA it is what torch
allocated.
"""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from bench.speed.clock import synchronize, timed

T = TypeVar("T")

_PROCESS = Path("/proc/self")
_MAX_BYTES = 16 * 2**30


def with_extra_peak(call: Callable[[], T], device: torch.device) -> tuple[float, int | None, T]:
    """Seconds, bytes beyond those held before (None where they cannot be known), and the result."""
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        seconds, result = timed(call, device)
        return seconds, torch.cuda.max_memory_allocated(device) - before, result
    known = _reset_high_water()
    before = _resident("VmRSS") if known else 0
    seconds, result = timed(call, device)
    return seconds, max(0, _resident("VmHWM") - before) if known else None, result


def memory_limit(device: torch.device) -> int:
    """Bytes that a call may take: half of what is free, at most 16 GiB on a CPU."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 2
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return _MAX_BYTES // 4
    available = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    return min(_MAX_BYTES, available[0] // 2) if available else _MAX_BYTES // 4


def _reset_high_water() -> bool:
    """Returns freed memory and sets the mark to what is held; False where Linux cannot."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        (_PROCESS / "clear_refs").write_text("5", encoding="utf-8")
    except (OSError, AttributeError):
        return False
    return True


def _resident(field: str) -> int:
    lines = (_PROCESS / "status").read_text(encoding="utf-8").splitlines()
    (kibibytes,) = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(kibibytes) * 1024
