import math

import pytest
import torch

from bench.speed import comparison, exact_entropies, whole_quantizers
from bench.speed.comparison import Grid, Measurement
from bench.speed.counterparts import METHODS, pair_of
from bench.speed.exact_entropies import enumerated
from bench.speed.peers import OURS, PEER
from bench.speed.steps import our_pass
from bench.speed.whole_quantizers import Size
from bench.training.interrupt import StopRequest

CPU = torch.device("cpu")
pytest.importorskip("torch_einops_utils")  # of vector-quantize-pytorch, whose import warns


@pytest.fixture(autouse=True)
def few_tokens(monkeypatch):
    monkeypatch.setattr(whole_quantizers, "_IMAGES", 2)


def grid(*sizes: Size) -> Grid[Size]:
    return Grid(sizes, 1, 0.1, 600.0)


def compare(name: str, bits: int = 10):
    pair = pair_of(name, bits, CPU)
    return pair, whole_quantizers.compare(pair, bits, grid(), CPU)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_and_its_counterpart_find_the_same_indices(name):
    pair, measured = compare(name)
    equal = whole_quantizers.equal_tokens(pair, measured)
    if pair.comparable:
        assert equal >= 127  # of 128; one may be a tie
    else:
        assert name == "rfsq"
        assert equal is None
    assert measured[PEER].seconds


@pytest.mark.parametrize("name", ["vq", "product_vq", "rvq", "simvq"])
def test_codebooks_trained_by_gradient_get_one_on_both_sides(name):
    pair = pair_of(name, 10, CPU)
    latents = torch.randn(2, pair.ours.latent_channels, 8, 8)
    our_pass(pair.ours, latents, torch.ones_like(latents), update=False)()
    whole_quantizers.their_pass(pair.theirs, latents, torch.ones_like(latents))()
    for module in (pair.ours, pair.theirs):
        assert all(parameter.grad is not None for parameter in module.parameters())
    if name == "vq":
        torch.testing.assert_close(pair.ours.codebook.grad[None], pair.theirs._codebook.embed.grad)


def test_a_counterpart_over_the_memory_limit_is_shown_and_not_run(monkeypatch):
    monkeypatch.setattr(comparison, "memory_limit", lambda device: 0)
    page = whole_quantizers.section(grid(Size(10, "lfq")), CPU, StopRequest())
    assert page.rows[0][PEER] == "needs 0 GB"
    assert page.rows[0]["times faster"] == page.rows[0]["indices"] == "-"


def test_indices_that_differ_miss_the_target():
    pair, measured = compare("fsq", 13)
    measured[OURS].seconds, measured[PEER].seconds = [1.0], [5.0]
    assert whole_quantizers.speedup(pair, measured) == 5.0
    measured[PEER].results[0][0] += 1
    assert whole_quantizers.speedup(pair, measured) == 0.0


def test_the_section_has_a_row_for_each_method_and_large_codebooks_decide():
    page = whole_quantizers.section(
        grid(Size(10, "fsq"), Size(13, "fsq"), Size(13, "rfsq")), CPU, StopRequest()
    )
    assert [row["method"] for row in page.rows] == ["`fsq`", "`fsq`", "`rfsq`"]
    assert page.targets[0].measured.endswith("(fsq, V=8,192)")


def test_without_the_library_the_section_is_a_line(monkeypatch):
    def missing():
        raise ImportError("no module")

    monkeypatch.setattr("bench.speed.counterparts.vector_quantize_pytorch", missing)
    page = whole_quantizers.section(grid(Size(10, "fsq")), CPU, StopRequest())
    assert not page.rows
    assert page.text == f"{PEER} is not installed."


def test_the_entropies_are_right_and_the_peer_is_off_by_its_clamp():
    sizes = [exact_entropies.Size(10, 128, 16)]
    page = exact_entropies.section(Grid(sizes, 1), CPU, StopRequest())
    ours, theirs = (float(row["error"]) for row in page.rows)
    assert ours < 1e-5 < theirs
    assert [target.reached is None for target in page.targets] == [False, False, False]


def test_the_enumeration_follows_the_definition():
    token, batch = enumerated(torch.zeros(3, 4))
    assert float(token) == pytest.approx(4 * math.log(2))
    assert float(batch) == pytest.approx(4 * math.log(2))
    token, batch = enumerated(torch.tensor([[1.0, -1.0], [-1.0, -1.0]]))
    assert float(token) == pytest.approx(0, abs=1e-9)
    assert float(batch) == pytest.approx(math.log(2))


def test_a_wrong_entropy_reaches_no_target_of_time():
    size, peer = exact_entropies.Size(18, 16384, 64), Measurement([60.0])
    for wrong, expected in ((0, [True, True, True]), (1, [False, True, False])):
        ours = Measurement([0.1], 1, wrong=wrong)
        targets = exact_entropies.targets(size, {OURS: ours, PEER: peer})
        assert [target.reached for target in targets] == expected
