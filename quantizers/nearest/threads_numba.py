"""Functions that Numba compiles, and as many threads for them as torch has.

Compiled code is kept on disk (`NUMBA_CACHE_DIR`).
"""

from collections.abc import Callable
from threading import Lock
from typing import Any

import numba
import torch

compiled = numba.njit(nogil=True, error_model="numpy", cache=True)
compiled_in_any_order = numba.njit(  # of sums; and of numbers, never NaN
    nogil=True, error_model="numpy", cache=True, fastmath={"contract", "nnan", "nsz", "reassoc"}
)
compiled_in_parallel = numba.njit(parallel=True, nogil=True, cache=True)
_one_at_a_time = Lock()  # not every thread pool of Numba can be used from two threads


def threads() -> int:
    """How many threads `run` takes."""
    most: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    return min(torch.get_num_threads(), most)


def run(
    serial: Callable[..., None], parallel: Callable[..., None], problem: tuple[Any, ...]
) -> None:
    """Calls the one that suits torch's number of threads: both do the same."""
    if threads() == 1:  # as in a process that was forked, which must not start any
        serial(*problem)
        return
    with _one_at_a_time:
        before = numba.get_num_threads()
        numba.set_num_threads(threads())
        parallel(*problem)
        numba.set_num_threads(before)
