"""Decorators for functions that Numba compiles, and a runner with as many threads as torch uses.

Numba keeps compiled code on disk (`NUMBA_CACHE_DIR`).
"""

from collections.abc import Callable
from threading import Lock
from typing import Any

import numba
import torch

compiled = numba.njit(nogil=True, error_model="numpy", cache=True)
compiled_in_any_order = numba.njit(  # any order of summation; NaN is not allowed
    nogil=True, error_model="numpy", cache=True, fastmath={"contract", "nnan", "nsz", "reassoc"}
)
compiled_in_parallel = numba.njit(parallel=True, nogil=True, cache=True)
_Loop = Callable[..., None]
_one_at_a_time = Lock()  # some of Numba's thread pools allow only one calling thread


def threads() -> int:
    """The number of threads that `run` uses."""
    limit: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    return min(torch.get_num_threads(), limit)


def run(serial: _Loop, parallel: _Loop, arguments: tuple[Any, ...]) -> None:
    """Calls the function that suits torch's number of threads; both compute the same."""
    if threads() == 1:  # as in a forked process, which must not start threads
        serial(*arguments)
        return
    with _one_at_a_time:
        before = numba.get_num_threads()
        numba.set_num_threads(threads())
        parallel(*arguments)
        numba.set_num_threads(before)
