import math

import pytest
import torch

from bench.speed import search as module
from bench.speed.contest import Cell
from bench.speed.peers import OURS, PEER
from bench.speed.search import Grid, Measured, measure
from bench.training.interrupt import StopRequest

CPU = torch.device("cpu")


def measured(ours: Cell, codes: int = 1024, **peers: Cell) -> Measured:
    return Measured(16384, codes, 16, {OURS: ours} | peers)


def test_the_fastest_peer_is_the_fastest_that_is_right():
    one = measured(Cell(2.0), a=Cell(1.0, wrong=3), b=Cell(4.0), c=Cell(note="> 30 s"))
    assert one.over_fastest() == 0.5
    assert one.faster_than("a") == 0.5
    assert one.faster_than("c") is None


def test_ours_loses_where_it_is_wrong_or_has_no_time():
    for ours in (Cell(2.0, wrong=1), Cell(note="failed")):
        one = measured(ours, a=Cell(1.0))
        assert one.over_fastest() == math.inf
        assert one.faster_than("a") == 0.0


def test_without_a_peer_nothing_is_compared():
    assert measured(Cell(2.0), a=Cell(note="not installed")).over_fastest() is None


def test_the_targets_name_the_worst_cell():
    cells = [
        measured(Cell(1.0, 10_000_000), codes=64, **{PEER: Cell(4.0)}),
        measured(Cell(1.0, 65_000_000), codes=128, **{PEER: Cell(0.8)}),
    ]
    fastest, peer, memory = module._on_cpu(cells)
    assert (fastest.reached, peer.reached, memory.reached) == (False, False, False)
    assert fastest.measured == "1.25 times (N=16,384, V=128, d=16)"
    assert peer.measured == "0.8 times (N=16,384, V=128, d=16)"
    assert memory.measured.startswith("65 MB")
    fastest, peer, memory = module._on_cpu(cells[:1])
    assert (fastest.reached, peer.reached, memory.reached) == (True, True, True)


def test_on_cuda_only_large_codebooks_and_their_peers_decide(monkeypatch):
    monkeypatch.setattr(module, "peak_flops_per_second", lambda *_: 2.0 * 16384 * 2**18 * 16)
    peers = {"cdist + argmin": Cell(4.9), "flash-kmeans": Cell(1.0)}
    cells = [
        measured(Cell(9.0), codes=1024, **peers),
        measured(Cell(1.0), codes=1 << 18, **peers),
    ]
    cdist, flash, bound = module._on_cuda(cells, CPU)
    assert (cdist.reached, flash.reached, bound.reached) == (False, True, True)
    assert bound.measured.startswith("1 times")


def test_a_tiny_grid_gives_a_row_a_cell_and_two_of_queries():
    grid = Grid((64, 128), (16,), (1, 3), 2, 0.5, 20.0, queries=500, query_codes=64)
    section = measure(grid, CPU, stop=StopRequest())
    assert [(row["N"], row["d"]) for row in section.rows] == [
        ("64", "1"),
        ("64", "3"),
        ("128", "1"),
        ("128", "3"),
        ("500", "1"),
        ("500", "2, spherical"),
    ]
    assert all("wrong" not in cell for row in section.rows for cell in row.values())
    assert len(section.targets) == 5
    assert "500 latents, 64 codes" in section.targets[-1].what


def test_queries_have_half_a_second():
    def target(cell: Cell):
        return module._fast_queries(Measured(10, 20, 1, {OURS: cell}))

    assert target(Cell(0.5, 1_000_000)).reached
    assert target(Cell(0.5, 1_000_000)).measured == "500 ms, 1 MB"
    for cell in (Cell(0.51), Cell(0.1, wrong=1), Cell(note="> 30 s")):
        assert target(cell).reached is False


def test_sizes_without_time_are_counted_on_the_page():
    section = measure(
        Grid((64,), (16, 32), (1,), 1, 0.1, 0.0, queries=9, query_codes=4), CPU, stop=StopRequest()
    )
    assert section.text.endswith("Left out for lack of time: the last 2 of 2 sizes.")
    assert [row["N"] for row in section.rows] == ["9", "9"]
    assert section.targets[0].reached is None


def test_the_call_behind_a_missed_target_is_that_of_its_cell():
    one = measured(Cell(2.0), codes=64, **{PEER: Cell(1.0)})
    for target in module._on_cpu([one, measured(Cell(1.0), codes=32, **{PEER: Cell(1.0)})])[:2]:
        found = target.set_out()()
        assert found.shape == (16384,)
        assert 32 < found.max() < 64


@pytest.mark.parametrize("name", ["small", "full"])
def test_the_largest_cells_come_last(name):
    sizes = module.GRIDS[name].sizes()
    pairs = [tokens * codes for tokens, codes, _ in sizes]
    assert pairs == sorted(pairs)
    assert len(set(sizes)) == len(sizes)
