import math
import time

import pytest
import torch

from bench.speed import comparison as module
from bench.speed.comparison import Grid, Measurement, RefusalError, check_memory, measure
from bench.training.interrupt import StopRequest

CPU = torch.device("cpu")


def compare(rounds=3, seconds=10.0, stop=None, **calls):
    contenders = {name: lambda call=call: call for name, call in calls.items()}
    return measure(contenders, Grid((), rounds, seconds), CPU, stop=stop)


def test_calls_take_turns_after_a_first_call_of_each(monkeypatch):
    monkeypatch.setattr(module, "_SHORT_SECONDS", 0.0)
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    cells = compare(**calls)
    assert order == list("ab" + "ababab")
    assert [len(cell.seconds) for cell in cells.values()] == [3, 3]


def test_a_short_call_is_made_twice_and_its_second_time_counts():
    pauses = iter([0.0, *[0.015, 0.0] * 3])
    cell = compare(one=lambda: time.sleep(next(pauses)))["one"]
    assert len(cell.seconds) == 3
    assert min(cell.seconds) < 0.015


def test_after_three_rounds_none_begins_that_would_pass_the_budget():
    cell = compare(100, 0.01, slow=lambda: time.sleep(0.05))["slow"]
    assert len(cell.seconds) == 3
    assert cell.median >= 0.05


def test_a_request_to_stop_ends_the_turns_after_a_round():
    stop = StopRequest()
    stop.requested = True
    cell = compare(100, stop=stop, slow=lambda: time.sleep(0.03))["slow"]
    assert len(cell.seconds) == 1


def test_a_long_call_is_made_once_unless_it_must_take_turns(monkeypatch):
    monkeypatch.setattr(module, "LONG_SECONDS", 0.0)
    for once, expected in ((True, 1), (False, 4)):
        calls = []
        contenders = {"long": lambda calls=calls: lambda: calls.append(time.sleep(0.03))}
        measure(contenders, Grid((), 3), CPU, once=once)
        assert len(calls) == expected


def test_what_is_not_installed_refused_or_broken_is_noted_and_the_others_go_on(capsys):
    def missing():
        raise ImportError("no module")

    def broken():
        raise RuntimeError("no kernel")

    contenders = {
        "missing": missing,
        "refused": lambda: check_memory(77 * 10**9, CPU),
        "broken": lambda: broken,
        "right": lambda: lambda: 7,
    }
    cells = measure(contenders, Grid((), 1), CPU)
    assert [str(cell) for cell in list(cells.values())[:3]] == [
        *("not installed", "needs 77 GB", "failed"),
    ]
    assert cells["broken"].median == math.inf
    assert cells["right"].results == [7, 7]
    assert "broken failed: RuntimeError: no kernel" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="no kernel"):
        measure(contenders, Grid((), 1), CPU, required=["broken"])


def test_what_needs_more_than_the_free_memory_is_refused(monkeypatch):
    monkeypatch.setattr(module, "memory_limit", lambda device: 10**9)
    check_memory(10**9, CPU)
    with pytest.raises(RefusalError, match="needs 77 GB"):
        check_memory(77 * 10**9, CPU)


def test_a_measurement_without_time_or_with_wrong_rows_loses():
    right = Measurement([2.0], 1_000_000)
    assert right.over(Measurement([4.0])) == 0.5
    assert str(right) == "2 s, 1 MB"
    wrong = Measurement([2.0], wrong=1234)
    assert wrong.over(right) == Measurement(note="failed").over(right) == math.inf
    assert str(wrong) == "2 s, -, wrong in 1,234 rows"


def test_sizes_past_the_time_are_left_out_with_a_line(capsys):
    grid, sizes = Grid(range(5), 1, seconds=0.02), []
    for size in grid.within("sums", StopRequest()):
        sizes.append(size)
        time.sleep(0.03)
    assert sizes == [0]
    assert "sums: time is up after 0 s; 4 left out" in capsys.readouterr().err
    assert grid.left_out(1) == " Left out for lack of time: the last 4 of 5 sizes."
    assert list(Grid(range(3), 1).within("sums", StopRequest())) == [0, 1, 2]
    assert grid.left_out(5) == ""


def test_a_request_to_stop_leaves_the_rest_out_with_a_line(capsys):
    stop, sizes = StopRequest(), []
    for size in Grid(range(5), 1).within("sums", stop):
        sizes.append(size)
        stop.requested = size == 1
    assert sizes == [0, 1]
    assert "sums: stopped; 3 left out" in capsys.readouterr().err
