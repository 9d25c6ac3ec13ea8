import time

import pytest
import torch

from bench.speed import contest as module
from bench.speed.contest import contest, warm_up
from bench.speed.peers import Search, searches


@pytest.fixture
def latents():
    return torch.randn(300, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def codes():
    return torch.randn(32, 4, generator=torch.Generator().manual_seed(1))


def exact(name: str = "exact", copies: int = 0) -> Search:
    return Search(name, lambda x, c: lambda: torch.cdist(x, c).argmin(dim=1), copies)


def run(latents, codes, *contestants):
    return contest(contestants, latents, codes, rounds=2, seconds=1.0)


def test_every_search_of_a_cpu_gets_a_time_and_is_right(latents, codes):
    cells = run(latents, codes, *searches(torch.device("cpu")))
    assert next(iter(cells)) == "ours"
    assert {"cdist + argmin", "addmm + argmin", "scikit-learn"} <= set(cells)
    for name, cell in cells.items():
        assert cell.exact or cell.note == "not installed", name


def test_a_wrong_peer_is_caught_with_its_rows(latents, codes):
    def last_code(x, c):
        return lambda: torch.full((len(x),), len(c) - 1)

    cells = run(latents, codes, exact(), Search("wrong", last_code, 0))
    assert cells["exact"].exact
    assert not cells["wrong"].exact
    assert "wrong in 2" in str(cells["wrong"])  # hundreds of the 300 rows
    assert cells["wrong"].seconds is not None


def test_a_search_over_the_memory_limit_is_shown_and_not_run(latents, codes, monkeypatch):
    def refuse(x, c):
        raise AssertionError("it must not be prepared")

    monkeypatch.setattr(module, "memory_limit", lambda device: 300 * 32 * 4)
    cells = run(latents, codes, exact(copies=1), Search("large", refuse, 2_000_000))
    assert str(cells["large"]) == "needs 77 GB"
    assert cells["exact"].exact


def test_a_search_that_would_take_too_long_is_shown_and_not_run(latents, codes, monkeypatch):
    rows = []

    def noted(x, c):
        rows.append(len(x))
        return exact().prepare(x, c)

    monkeypatch.setattr(module, "_PROBE_NUMBERS", 0)
    monkeypatch.setattr(module, "LIMIT_SECONDS", 0.0)
    cells = run(latents, codes, Search("slow", noted, 0))
    assert str(cells["slow"]) == "> 0 s"
    assert rows == [1]


def test_what_takes_long_to_set_out_is_probed_by_more_latents(latents, codes, monkeypatch):
    rows = []

    def set_out(x, c):
        rows.append(len(x))
        return lambda: time.sleep(0.05) or torch.cdist(x, c).argmin(dim=1)

    monkeypatch.setattr(module, "_PROBE_NUMBERS", 0)
    monkeypatch.setattr(module, "LIMIT_SECONDS", 10.0)
    assert run(latents, codes, Search("prepared", set_out, 0))["prepared"].exact
    assert rows == [1, 4, 300]


def test_a_peer_that_is_not_installed_or_fails_is_shown_as_such(latents, codes, capsys):
    def missing(x, c):
        raise ImportError("no module")

    def failing(x, c):
        raise RuntimeError("no kernel")

    cells = run(latents, codes, Search("a", missing, 0), Search("b", failing, 0), exact())
    assert [str(cells["a"]), str(cells["b"])] == ["not installed", "failed"]
    assert cells["exact"].exact
    assert "b: RuntimeError: no kernel" in capsys.readouterr().err


def test_codes_that_a_search_finds_in_a_later_call_are_judged_too(latents, codes):
    calls = []

    def fickle(x, c):
        def call():
            calls.append(1)
            return torch.cdist(x, c).argmin(dim=1) if len(calls) == 1 else torch.zeros(300).long()

        return call

    cells = run(latents, codes, Search("fickle", fickle, 0), exact())
    assert "wrong in 2" in str(cells["fickle"])
    assert cells["exact"].exact


def test_a_long_call_is_made_once(latents, codes, monkeypatch):
    calls = []

    def counted(x, c):
        return lambda: calls.append(1) or torch.cdist(x, c).argmin(dim=1)

    monkeypatch.setattr(module, "LONG_SECONDS", 0.0)
    cells = run(latents, codes, Search("long", counted, 0))
    assert len(calls) == 1
    assert cells["long"].exact


def test_a_search_is_warmed_up_at_its_own_sizes_and_may_fail():
    met = []

    def recorded(x, c):
        return lambda: met.append((tuple(x.shape), tuple(c.shape)))

    def broken(x, c):
        raise RuntimeError("no such kernel")

    search = Search("ours", recorded, 0, ((5, 3), (7, 2)))
    warm_up([Search("broken", broken, 0), search], [1, 4], torch.device("cpu"))
    assert met == [((5, 1), (3, 1)), ((7, 1), (2, 1)), ((5, 4), (3, 4)), ((7, 4), (2, 4))]
