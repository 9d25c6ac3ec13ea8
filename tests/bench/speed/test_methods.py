import math

import pytest
import torch

from bench.speed import entropy, methods
from bench.speed.counterparts import pairs
from bench.speed.peers import PEER
from bench.training.interrupt import StopRequest

CPU = torch.device("cpu")
pytest.importorskip("torch_einops_utils")  # of vector-quantize-pytorch, whose import warns
SIZES = methods.Sizes((10,), 1, 0.1, 60.0)


@pytest.fixture(autouse=True)
def few_tokens(monkeypatch):
    monkeypatch.setattr(methods, "_IMAGES", 2)


@pytest.mark.parametrize("name", pairs())
def test_a_method_and_its_counterpart_find_the_same_indices(name):
    result = methods._measure(name, 10, pairs()[name], SIZES, CPU)
    if result.pair.comparable:
        assert result.equal >= 127  # of 128; one may be a tie
    else:
        assert name == "rfsq"
        assert result.equal is None
    assert result.ratio > 0


@pytest.mark.parametrize("name", ["vq", "product_vq", "rvq", "simvq"])
def test_codebooks_trained_by_gradient_get_one_on_both_sides(name):
    pair = pairs()[name](10)
    latents = torch.randn(2, pair.ours.latent_channels, 8, 8)
    methods._our_pass(pair, latents, torch.ones_like(latents))()
    methods._their_pass(pair.theirs, latents, torch.ones_like(latents))()
    for module in (pair.ours, pair.theirs):
        assert all(parameter.grad is not None for parameter in module.parameters())


def test_vq_and_its_counterpart_get_the_same_gradient():
    pair = pairs()["vq"](10)
    latents = torch.randn(2, 8, 8, 8)
    methods._our_pass(pair, latents, torch.ones_like(latents))()
    methods._their_pass(pair.theirs, latents, torch.ones_like(latents))()
    torch.testing.assert_close(pair.ours.codebook.grad[None], pair.theirs._codebook.embed.grad)


def test_a_counterpart_over_the_memory_limit_is_shown_and_not_run(monkeypatch):
    monkeypatch.setattr(methods, "memory_limit", lambda device: 0)
    result = methods._measure("lfq", 10, pairs()["lfq"], SIZES, CPU)
    assert result.theirs is None
    assert methods._row(result)[PEER] == "needs 0 GB"


def test_indices_that_differ_miss_the_target(monkeypatch):
    large = methods.Sizes((13,), 1, 0.1, 60.0)
    result = methods._measure("fsq", 13, pairs()["fsq"], large, CPU)
    monkeypatch.setattr(methods._Result, "ratio", 5.0)
    assert methods._target([result], CPU).reached
    result.theirs.indices[0] += 1
    assert methods._target([result], CPU).measured.startswith("0 times (fsq")


def test_the_section_has_a_row_a_method():
    section = methods.measure(SIZES, CPU, stop=StopRequest())
    assert [row["method"] for row in section.rows] == [f"`{name}`" for name in pairs()]
    assert section.targets[0].reached is None  # V is small


def test_without_the_library_the_section_is_a_line(monkeypatch):
    def missing():
        raise ImportError("no module")

    monkeypatch.setattr("bench.speed.counterparts.vector_quantize_pytorch", missing)
    section = methods.measure(SIZES, CPU, stop=StopRequest())
    assert not section.rows
    assert section.text == f"{PEER} is not installed."


def test_the_entropies_are_right_and_the_peer_is_off_by_its_clamp():
    section = entropy.measure(entropy.Size(10, 128, 16, 1), CPU)
    ours, theirs = (float(row["error"]) for row in section.rows)
    assert ours < 1e-5 < theirs
    assert [target.reached is None for target in section.targets] == [False, False, False]


def test_the_enumeration_is_that_of_the_definition():
    token, batch = entropy._enumerated(torch.zeros(3, 4))
    assert float(token) == pytest.approx(4 * math.log(2))
    assert float(batch) == pytest.approx(4 * math.log(2))
    hard = torch.tensor([[1.0, -1.0], [-1.0, -1.0]])
    token, batch = entropy._enumerated(hard)
    assert float(token) == pytest.approx(0, abs=1e-9)
    assert float(batch) == pytest.approx(math.log(2))


def test_a_wrong_entropy_reaches_no_target():
    seconds = {"ours": 0.1, PEER: 60.0}
    right = entropy._targets(entropy.Size(18, 16384, 64, 1), seconds, 1, wrong=False)
    wrong = entropy._targets(entropy.Size(18, 16384, 64, 1), seconds, 1, wrong=True)
    assert [target.reached for target in right] == [True, True, True]
    assert [target.reached for target in wrong] == [False, True, False]
