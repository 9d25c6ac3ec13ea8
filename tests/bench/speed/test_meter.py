import time

import numpy as np
import pytest
import torch

from bench.speed import meter
from bench.speed.meter import PROC, memory_limit, peak_flops_per_second, timed, with_extra_peak

CPU = torch.device("cpu")
MEGABYTE = 1_000_000


def test_a_timed_call_gives_its_result():
    seconds, result = timed(lambda: time.sleep(0.02) or 7, CPU)
    assert result == 7
    assert seconds >= 0.02


def test_repeated_calls_give_their_mean():
    pauses = iter([0.0, 0.04])
    seconds, _ = timed(lambda: time.sleep(next(pauses)), CPU, repeat=2)
    assert seconds >= 0.02


def test_the_peak_of_a_product_is_positive_and_below_any_processor(monkeypatch):
    monkeypatch.setitem(meter._PEAK_SIZE, "cpu", 256)
    monkeypatch.setitem(meter._PEAK_BATCH, "cpu", 1)
    assert 1e6 < peak_flops_per_second(CPU, torch.float32) < 1e15


linux = pytest.mark.skipif(
    not (PROC / "self/clear_refs").exists(), reason="only Linux has a high-water mark"
)


@linux
@pytest.mark.parametrize("make", [torch.ones, np.ones], ids=["torch", "numpy"])
def test_the_peak_of_any_library_counts_also_if_it_was_freed(make):
    size = 5 * MEGABYTE * make(1).itemsize
    for _ in range(3):  # only in the first call may the allocator still hold the memory
        _, extra, result = with_extra_peak(lambda: make(5 * MEGABYTE).sum(), CPU)
        assert 0.9 * size < extra < 1.5 * size
        assert float(result) == 5 * MEGABYTE


@linux
def test_what_was_held_before_does_not_count():
    held = torch.ones(20 * MEGABYTE)
    _, extra, _ = with_extra_peak(lambda: held.sum(), CPU)
    assert extra < 8 * MEGABYTE


@linux
def test_an_earlier_peak_does_not_count():
    torch.ones(40 * MEGABYTE).sum()
    _, extra, _ = with_extra_peak(lambda: torch.ones(1), CPU)
    assert extra < 8 * MEGABYTE


def test_the_memory_limit_leaves_room():
    assert 0 < memory_limit(CPU) <= 16 * 2**30
