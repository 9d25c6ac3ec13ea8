"""The nearest-code search finds exactly what brute force in float64 finds, ties included."""

import inspect

import pytest
import torch
from brute_force import nearest_of_all, problem
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from quantizers.nearest import nearest, search

pytestmark = pytest.mark.usefixtures("way_to_search")

sizes = st.tuples(st.integers(1, 40), st.integers(1, 300), st.integers(1, 24))
seeds = st.integers(0, 10_000)
scales = st.sampled_from([1e-30, 1e-15, 1e-7, 1e-2, 1.0, 1e5, 1e15, 1e37])
ways = pytest.mark.parametrize(
    ("channels", "spherical"),
    [(1, False), (2, False), (6, False), (1, True), (2, True), (6, True)],
)


@given(size=sizes, seed=seeds, scale=scales, spherical=st.booleans())
def test_it_is_the_brute_force_of_float64(size, seed, scale, spherical):
    latents, codebook = (scale * tensor for tensor in problem(size, seed))
    _assert_nearest(latents, codebook, spherical=spherical)


@given(size=sizes, seed=seeds, offset=st.sampled_from([1.0, -30.0, 1e3, 1e4, 1e6]))
def test_it_is_exact_far_from_the_origin(size, seed, offset):
    latents, codebook = (tensor + offset for tensor in problem(size, seed))
    _assert_nearest(latents, codebook)


@given(size=sizes, seed=seeds, ratio=st.sampled_from([1e-30, 1e-10, 1e-3, 1e3, 1e10, 1e30]))
def test_it_is_exact_far_inside_and_outside_the_codebook(size, seed, ratio):
    latents, codebook = problem((*size[:2], size[2] + 1), seed)  # a line needs no float64
    _assert_nearest(ratio * latents, codebook)


@given(size=sizes, seed=seeds, spherical=st.booleans())
def test_it_is_exact_on_a_grid_full_of_ties(size, seed, spherical):
    generator = torch.Generator().manual_seed(seed)
    n, v, d = size[0], size[1], min(size[2], 3)  # three squares add up to the same in any order
    latents = torch.randint(-2, 3, (n, d), generator=generator).float() / 2
    codebook = torch.randint(-2, 3, (v, d), generator=generator).float()
    if not spherical:
        _assert_nearest(latents, codebook)
    found = nearest(latents, codebook, spherical=True)
    same = (codebook[:, None] == codebook).all(dim=-1).int().argmax(dim=1)
    assert torch.equal(found, same[found])


@given(size=sizes, seed=seeds, spherical=st.booleans())
def test_of_equal_codes_the_lowest_wins(size, seed, spherical):
    latents, codebook = problem(size, seed)
    generator = torch.Generator().manual_seed(seed)
    codebook = codebook[torch.randint(size[1], (2 * size[1],), generator=generator)]
    _assert_nearest(latents, codebook, spherical=spherical)


@given(size=sizes, seed=seeds)
def test_of_codes_in_one_direction_the_lowest_wins(size, seed):
    latents, codebook = problem(size, seed)
    codebook = codebook.bfloat16().float()  # so that the multiples below are exact
    multiples = torch.cat([3 * codebook, codebook, codebook / 4, 5 * codebook])
    assert (nearest(latents, multiples, spherical=True) < size[1]).all()
    _assert_nearest(latents, multiples, spherical=True)


@ways
@pytest.mark.parametrize("codes", [30, 700])
def test_the_batch_changes_no_index(channels, spherical, codes):
    latents, codebook = problem((60, codes, channels), seed=1)
    codebook = torch.cat([codebook[: codes // 2], codebook])[:codes]
    expected = nearest(latents, codebook, spherical=spherical)
    parts = [nearest(part, codebook, spherical=spherical) for part in latents.flip(0).split(7)]
    assert torch.equal(torch.cat(parts).flip(0), expected)


@ways
def test_an_infinite_code_is_nearest_to_nothing(channels, spherical):
    latents, codebook = problem((60, 90, channels), seed=5)
    infinite = torch.zeros(90, dtype=torch.bool)
    infinite[::3] = True
    codebook[::3, -1], codebook[3::6, -1] = torch.inf, -torch.inf
    finite = (~infinite).nonzero().squeeze(1)
    expected = finite[nearest_of_all(latents, codebook[finite], spherical=spherical)]
    assert torch.equal(nearest(latents, codebook, spherical=spherical), expected)


@ways
def test_of_infinite_codes_alone_the_first_is_taken(channels, spherical):
    codebook = torch.full((70, channels), torch.inf)
    assert not nearest(torch.ones(3, channels), codebook, spherical=spherical).any()


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_zero_latent_has_no_direction_and_gets_the_first_code(channels):
    latents, codebook = problem((40, 90, channels), seed=6)
    latents[::2] = 0
    latents[::4] = -0.0
    _assert_nearest(latents, codebook, spherical=True)
    assert not nearest(latents, codebook, spherical=True)[::2].any()


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("codes", [3, 90])
def test_a_zero_code_has_cosine_zero(channels, codes):
    latents, codebook = problem((200, codes, channels), seed=7)
    codebook = codebook.abs()  # in one orthant: for many latents no cosine is positive
    codebook[codes // 3], codebook[codes // 2] = 0, 0
    _assert_nearest(latents, codebook, spherical=True)
    zeros = torch.zeros(4, channels)
    assert not nearest(latents, zeros, spherical=True).any()


def test_a_zero_code_ties_with_one_at_a_right_angle():
    latents = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, 0.0]])
    zero_first = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, -1.0]])
    assert nearest(latents, zero_first, spherical=True).tolist() == [1, 0, 1]
    zero_last = torch.tensor([[0.0, -1.0], [1.0, 1.0], [0.0, 0.0]])
    assert nearest(latents, zero_last, spherical=True).tolist() == [1, 1, 1]
    at_right_angles = torch.tensor([[1.0, -1.0, 0.0]])
    assert nearest(at_right_angles, torch.tensor([[1.0, 1.0, 9.0], [0.0] * 3]), spherical=True) == 0


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1e20, 1e37])
def test_a_direction_does_not_depend_on_length(scale):
    latents, codebook = problem((200, 64, 5), seed=4)
    lengths = torch.linspace(0.5, 2, 64)[:, None]
    expected = nearest(latents, codebook, spherical=True)
    found = nearest(latents * scale, codebook * scale * lengths, spherical=True)
    assert torch.equal(found, expected)


def test_length_counts_unless_spherical():
    latents, codebook = torch.tensor([[1.0, 0.2]]), torch.tensor([[1.0, 0.5], [9.0, 0.0]])
    assert nearest(latents, codebook).item() == 0
    assert nearest(latents, codebook, spherical=True).item() == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_latents_and_codes_are_taken_as_float32(dtype):
    latents, codebook = (tensor.to(dtype) for tensor in problem((300, 500, 8), seed=9))
    expected = nearest_of_all(latents.float(), codebook.float())
    assert torch.equal(nearest(latents, codebook), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(nearest(latents, codebook), expected)


def test_products_of_lower_precision_change_no_index():
    latents, codebook = problem((512, 2048, 256), seed=10)
    expected = nearest(latents, codebook)
    torch.set_float32_matmul_precision("medium")
    try:
        assert torch.equal(nearest(latents, codebook), expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.backends.mkldnn.matmul.fp32_precision in ("ieee", "none")


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_products_of_accelerators_are_as_precise_as_asked(monkeypatch, precision):
    cuda, during = torch.backends.cuda.matmul, []

    def search_float32(latents, *_, **__):
        during.append(cuda.fp32_precision)
        return latents

    monkeypatch.setattr(search, "search_float32", search_float32)
    for allowed in ("medium", "highest"):
        torch.set_float32_matmul_precision(allowed)
        try:
            before = cuda.fp32_precision
            rows = torch.ones(1, 2, 3)
            search._search_on_accelerator(rows, rows, False, precision)
            assert cuda.fp32_precision == before
        finally:
            torch.set_float32_matmul_precision("highest")
    assert during == 2 * ["tf32" if precision == "tf32" else "ieee"]


@ways
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_on_a_cpu_no_precision_makes_the_search_less_exact(channels, spherical, precision):
    latents, codebook = problem((50, 300, channels), seed=11)
    found = nearest(latents, codebook, spherical=spherical, precision=precision)
    assert torch.equal(found, nearest_of_all(latents, codebook, spherical=spherical))


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="one of 'float32', 'tf32', 'bf16'; got 'fp8'"):
        inspect.unwrap(nearest)(torch.ones(1, 3), torch.ones(2, 3), precision="fp8")


@ways
def test_no_latents_give_no_indices(channels, spherical):
    indices = nearest(torch.zeros(0, channels), torch.ones(200, channels), spherical=spherical)
    assert indices.shape == (0,)
    assert indices.dtype == torch.int64


def test_columns_of_another_tensor_are_searched_as_they_are():
    latents, codebook = (tensor.T[:, 2:6] for tensor in problem((9, 9, 500), seed=11))
    _assert_nearest(latents, codebook)
    _assert_nearest(latents, codebook[::3], spherical=True)


def test_the_search_leaves_its_arguments_and_the_graph_alone():
    latents, codebook = problem((20, 10, 3), seed=10)
    originals = latents.clone(), codebook.clone()
    indices = nearest(latents.requires_grad_(), codebook.requires_grad_())
    assert not indices.requires_grad
    assert torch.equal(latents, originals[0])
    assert torch.equal(codebook, originals[1])


@pytest.mark.parametrize(("channels", "spherical"), [(1, False), (2, True), (6, False), (6, True)])
def test_groups_are_searched_as_each_alone(channels, spherical):
    latents, codebook = problem((3 * 20, 3 * 30, channels), seed=3)
    latents, codebook = latents.view(20, 3, channels).movedim(1, 0), codebook.view(3, 30, -1)
    found = nearest(latents, codebook, spherical=spherical)
    alone = [nearest(*pair, spherical=spherical) for pair in zip(latents, codebook, strict=True)]
    assert torch.equal(found, torch.stack(alone))


def _assert_nearest(latents: Tensor, codebook: Tensor, *, spherical: bool = False) -> None:
    found = nearest(latents, codebook, spherical=spherical)
    assert torch.equal(found, nearest_of_all(latents, codebook, spherical=spherical))
