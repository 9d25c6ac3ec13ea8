import time

import numpy as np
import pytest
import torch

from bench.speed import timing
from bench.speed.memory import _PROCESS, memory_limit, with_extra_peak
from bench.speed.timing import interleaved, peak_flops_per_second, timed, within
from bench.training.interrupt import StopRequest

CPU = torch.device("cpu")
MEGABYTE = 1_000_000


def test_calls_take_turns(monkeypatch):
    monkeypatch.setattr(timing, "_SHORT_SECONDS", 0.0)
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    times = interleaved(calls, rounds=3, seconds=10.0, device=CPU)
    assert order == list("ababab")
    assert [len(each.seconds) for each in times.values()] == [3, 3]


def test_a_short_call_is_made_twice_and_its_second_time_counts():
    pauses = iter([0.015, 0.0] * 3)
    times = interleaved(
        {"one": lambda: time.sleep(next(pauses))}, rounds=3, seconds=10.0, device=CPU
    )
    assert len(times["one"].seconds) == 3
    assert max(times["one"].seconds) < 0.015


def test_after_three_rounds_none_begins_that_would_pass_the_budget():
    calls = {"slow": lambda: time.sleep(0.05)}
    times = interleaved(calls, rounds=100, seconds=0.01, device=CPU)
    assert len(times["slow"].seconds) == 3
    assert times["slow"].median >= 0.05


def test_the_median_is_that_of_the_calls():
    pauses = iter([0.05, 0.1, 0.05])
    times = interleaved(
        {"one": lambda: time.sleep(next(pauses))}, rounds=3, seconds=10.0, device=CPU
    )
    assert times["one"].median < 0.1 <= max(times["one"].seconds)


def test_a_timed_call_gives_its_result():
    seconds, result = timed(lambda: time.sleep(0.02) or 7, CPU)
    assert result == 7
    assert seconds >= 0.02


def test_items_past_the_time_are_left_out_with_a_line(capsys):
    kept = []
    for item in within(0.02, range(5), "sums", StopRequest()):
        kept.append(item)
        time.sleep(0.03)
    assert kept == [0]
    assert "sums: time is up after 0 s; 4 left out" in capsys.readouterr().err
    assert list(within(10.0, range(3), "sums", StopRequest())) == [0, 1, 2]


def test_a_request_to_stop_leaves_the_rest_out_with_a_line(capsys):
    stop, kept = StopRequest(), []
    for item in within(10.0, range(5), "sums", stop):
        kept.append(item)
        stop.requested = item == 1
    assert kept == [0, 1]
    assert "sums: stopped; 3 left out" in capsys.readouterr().err


def test_the_peak_of_a_product_is_positive_and_below_any_processor(monkeypatch):
    monkeypatch.setitem(timing._PEAK_SIZE, "cpu", 256)
    assert 1e6 < peak_flops_per_second(CPU, torch.float32) < 1e15


linux = pytest.mark.skipif(
    not (_PROCESS / "clear_refs").exists(), reason="the high-water mark is Linux's"
)


@linux
@pytest.mark.parametrize("make", [torch.ones, np.ones], ids=["torch", "numpy"])
def test_the_peak_of_any_library_counts_also_where_it_was_freed(make):
    size = 5 * MEGABYTE * make(1).itemsize
    for _ in range(3):  # but for the first time the memory may still lie with the allocator
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
