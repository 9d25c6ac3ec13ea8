import time

import pytest
import torch

from bench.speed import code_search as module
from bench.speed.code_search import Size, compare, section, sizes
from bench.speed.comparison import Grid, Measurement
from bench.speed.peers import COPIES, OURS, PEER, searches
from bench.training.interrupt import StopRequest

CPU = torch.device("cpu")
SIZE = Size(300, 32, 4)


def exact(latents, codes):
    return lambda: torch.cdist(latents, codes).argmin(dim=1)


def run(**contenders):
    return compare(SIZE, contenders, Grid([SIZE], 2, 1.0), CPU)


def cells(ours: Measurement, **peers: Measurement) -> dict[str, Measurement]:
    return {OURS: ours, **peers}


def test_every_search_of_a_cpu_gets_a_time_and_is_right():
    cells = run(**searches(CPU))
    assert next(iter(cells)) == "ours"
    assert {"cdist + argmin", "addmm + argmin", "scikit-learn"} <= set(cells)
    for name, cell in cells.items():
        assert cell.right or cell.note == "not installed", name


def test_a_wrong_peer_is_caught_with_its_rows():
    cells = run(exact=exact, wrong=lambda x, c: lambda: torch.full((len(x),), len(c) - 1))
    assert cells["exact"].right
    assert not cells["wrong"].right
    assert "wrong in 2" in str(cells["wrong"])  # hundreds of the 300 rows


def test_codes_that_a_search_finds_in_a_later_call_are_judged_too():
    calls = []

    def fickle(latents, codes):
        def call():
            calls.append(1)
            return exact(latents, codes)() if len(calls) == 1 else torch.zeros(300).long()

        return call

    cells = run(fickle=fickle, exact=exact)
    assert "wrong in 2" in str(cells["fickle"])
    assert cells["exact"].right


def test_a_search_over_the_memory_limit_is_not_prepared(monkeypatch):
    monkeypatch.setitem(COPIES, "large", 2_000_000)
    assert str(run(large=lambda x, c: pytest.fail("prepared"))["large"]) == "needs 77 GB"


@pytest.mark.parametrize(
    ("limit", "rows", "shown"), [(0.0, [1], "> 0 s"), (10.0, [1, 4, 300], None)]
)
def test_a_search_is_tried_on_few_latents_before_all(monkeypatch, limit, rows, shown):
    """What takes long to prepare is tried on more latents."""
    tried = []

    def slow(latents, codes):
        tried.append(len(latents))
        return lambda: time.sleep(0.05) or exact(latents, codes)()

    monkeypatch.setattr(module, "_PROBE_NUMBERS", 0)
    monkeypatch.setattr(module, "LIMIT_SECONDS", limit)
    cell = run(slow=slow)["slow"]
    assert tried == rows
    assert cell.right if shown is None else str(cell) == shown


def test_a_search_is_warmed_up_at_its_own_sizes_and_may_fail(monkeypatch):
    shapes = []
    monkeypatch.setattr(module, "_OUR_WARM_SIZES", ((5, 3), (7, 2)))

    def broken(latents, codes):
        raise RuntimeError("no such kernel")

    def ours(latents, codes):
        return lambda: shapes.append((*latents.shape, *codes.shape))

    module.warm_up({"broken": broken, OURS: ours}, [1, 4], CPU)
    assert shapes == [(5, 1, 3, 1), (7, 1, 2, 1), (5, 4, 3, 4), (7, 4, 2, 4)]


def test_the_fastest_peer_is_the_fastest_that_is_right():
    one = cells(
        Measurement([2.0]),
        a=Measurement([1.0], wrong=3),
        b=Measurement([4.0]),
        c=Measurement(note="> 30 s"),
    )
    assert module.over_fastest(one) == 0.5
    assert module.faster_than("a", one) == 0.5
    assert module.faster_than("c", one) is None
    assert module.over_fastest(cells(one[OURS], c=one["c"])) is None


def test_ours_loses_if_it_is_wrong_or_has_no_time():
    for ours in (Measurement([2.0], wrong=1), Measurement(note="failed")):
        assert module.faster_than("a", cells(ours, a=Measurement([1.0]))) == 0.0


def test_the_targets_name_the_worst_size_and_make_its_call():
    results = {
        Size(16384, 64, 16): cells(Measurement([1.0], 10_000_000), **{PEER: Measurement([4.0])}),
        Size(16384, 128, 16): cells(Measurement([1.0], 65_000_000), **{PEER: Measurement([0.8])}),
    }
    fastest, peer, memory = module.targets(results, CPU)
    assert (fastest.reached, peer.reached, memory.reached) == (False, False, False)
    assert fastest.measured == "1.25 times (N=16,384, V=128, d=16)"
    assert peer.measured == "0.8 times (N=16,384, V=128, d=16)"
    assert memory.measured.startswith("65 MB")
    for target in (fastest, peer):
        indices = target.make_call()()
        assert indices.shape == (16384,)
        assert 64 < indices.max() < 128
    results.popitem()
    assert all(target.reached for target in module.targets(results, CPU))


def test_on_cuda_only_large_codebooks_and_their_peers_decide(monkeypatch):
    monkeypatch.setattr(module, "peak_flops_per_second", lambda *_: 2.0 * 16384 * 2**18 * 16)
    peers = {"cdist + argmin": Measurement([4.9]), "flash-kmeans": Measurement([1.0])}
    results = {
        Size(16384, 1024, 16): cells(Measurement([9.0]), **peers),
        Size(16384, 1 << 18, 16): cells(Measurement([1.0]), **peers),
    }
    cdist, flash, bound = module.targets(results, torch.device("cuda"))
    assert (cdist.reached, flash.reached, bound.reached) == (False, True, True)
    assert bound.measured.startswith("1 times")


def test_a_tiny_grid_gives_a_row_for_each_size_and_two_queries(monkeypatch):
    monkeypatch.setattr(module, "QUERIES", (Size(500, 64, 1), Size(500, 64, 2, True)))
    page = section(Grid(sizes((64, 128), (16,), (1, 3)), 2, 0.5, 200.0), CPU, StopRequest())
    assert [(row["N"], row["d"]) for row in page.rows] == [
        *[("64", "1"), ("64", "3"), ("128", "1"), ("128", "3")],
        *[("500", "1"), ("500", "2, spherical")],
    ]
    assert all("wrong" not in cell for row in page.rows for cell in row.values())
    assert PEER in page.rows[0]
    assert PEER not in page.rows[-1]
    assert len(page.targets) == 5
    assert "500 latents, 64 codes" in page.targets[-1].what


def test_queries_have_half_a_second():
    def target(cell: Measurement):
        return module.query_target(Size(10, 20, 1), cell)

    assert target(Measurement([0.5], 1_000_000)).reached
    assert target(Measurement([0.5], 1_000_000)).measured == "500 ms, 1 MB"
    for cell in (Measurement([0.51]), Measurement([0.1], wrong=1), Measurement(note="> 30 s")):
        assert target(cell).reached is False


def test_sizes_without_time_are_counted_on_the_page(monkeypatch):
    monkeypatch.setattr(module, "QUERIES", ())
    page = section(Grid(sizes((64,), (16, 32), (1,)), 1, 0.1, 0.0), CPU, StopRequest())
    assert page.text.endswith("Left out for lack of time: the last 2 of 2 sizes.")
    assert not page.rows
    assert page.targets[0].reached is None


@pytest.mark.parametrize("name", ["small", "full"])
def test_the_largest_sizes_come_last(name):
    grid = module.GRIDS[name].sizes
    pairs = [size.tokens * size.codes for size in grid]
    assert pairs == sorted(pairs)
    assert len(set(grid)) == len(grid)
