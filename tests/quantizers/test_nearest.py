"""The nearest-code search against brute force in float64.

The margin rule: where the best two codes differ by less than float32 can tell, either is right.
For distances that is an excess of 1e-5 of the best distance, for cosines (on the unit sphere,
where one is the natural scale) an excess of 1e-6.
"""

import inspect

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from quantizers import nearest as nearest_module
from quantizers.nearest import nearest

sizes = st.tuples(st.integers(1, 40), st.integers(1, 300), st.integers(1, 24))
seeds = st.integers(0, 10_000)
scales = st.sampled_from([1e-15, 1e-7, 1e-2, 1.0, 1e5, 1e15])


@given(size=sizes, seed=seeds, scale=scales, offset=st.sampled_from([0.0, 1.0, -30.0, 1e3, 1e4]))
def test_no_code_is_nearer_in_float64(size, seed, scale, offset):
    latents, codebook = _problem(size, seed)
    latents, codebook = scale * (latents + offset), scale * (codebook + offset)
    _assert_nearest(nearest(latents, codebook), latents, codebook)


@given(size=sizes, seed=seeds, ratio=st.sampled_from([1e-10, 1e-3, 1e3, 1e10]))
def test_latents_far_inside_or_outside_the_codebook_find_their_code(size, seed, ratio):
    latents, codebook = _problem(size, seed)
    _assert_nearest(nearest(ratio * latents, codebook), ratio * latents, codebook)


@pytest.mark.parametrize("offset", [1e3, 1e4])
def test_a_common_offset_costs_no_digits(offset):
    latents, codebook = _problem((500, 256, 8), seed=3)
    codebook[:, ::2] += offset
    latents[:, ::2] += offset
    _assert_nearest(nearest(latents, codebook), latents, codebook)


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
def test_many_codes_on_a_line_are_told_apart(scale):
    latents, codebook = (scale * tensor for tensor in _problem((500, 65536, 1), seed=11))
    _assert_nearest(nearest(latents, codebook), latents, codebook)


@given(size=sizes, seed=seeds, latent_scale=scales, code_scale=scales)
def test_no_direction_is_closer_in_float64(size, seed, latent_scale, code_scale):
    latents, codebook = _problem(size, seed)
    indices = nearest(latent_scale * latents, code_scale * codebook, spherical=True)
    cosines = _cosines(latents, codebook)
    chosen = cosines.gather(1, indices[:, None]).squeeze(1)
    assert (chosen >= cosines.amax(dim=1) - 1e-6).all()


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1e20, 1e37])
def test_a_direction_does_not_depend_on_length(scale):
    latents, codebook = _problem((200, 64, 5), seed=4)
    lengths = torch.linspace(0.5, 2, 64)[:, None]
    expected = nearest(latents, codebook, spherical=True)
    found = nearest(latents * scale, codebook * scale * lengths, spherical=True)
    assert torch.equal(found, expected)


def test_the_longest_latents_overflow_no_cosine():
    latents, codebook = _problem((200, 64, 5), seed=4)
    longest = latents / latents.abs().amax(dim=1, keepdim=True) * 3e38
    expected = nearest(latents, codebook, spherical=True)
    assert torch.equal(nearest(longest, codebook, spherical=True), expected)


def test_length_counts_unless_spherical():
    latents, codebook = torch.tensor([[1.0, 0.2]]), torch.tensor([[1.0, 0.5], [9.0, 0.0]])
    assert nearest(latents, codebook).item() == 0
    assert nearest(latents, codebook, spherical=True).item() == 1


@given(size=sizes, seed=seeds, spherical=st.booleans())
def test_of_equal_codes_the_lowest_wins(size, seed, spherical):
    latents, codebook = _problem(size, seed)
    generator = torch.Generator().manual_seed(seed)
    codebook = codebook[torch.randint(size[1], (2 * size[1],), generator=generator)]
    same = (codebook[:, None] == codebook).all(dim=-1)
    lowest = same.int().argmax(dim=1)
    indices = nearest(latents, codebook, spherical=spherical)
    assert torch.equal(indices, lowest[indices])


def test_equal_codes_in_different_tiles_give_the_lowest(monkeypatch):
    monkeypatch.setattr(nearest_module, "_CODES_PER_TILE", 3)
    latents, codebook = _problem((50, 7, 4), seed=5)
    indices = nearest(latents, codebook.repeat(4, 1))
    assert torch.equal(indices, nearest(latents, codebook))
    assert indices.max() < 7


def test_a_midpoint_goes_to_the_lower_code():
    assert nearest(torch.tensor([[1.0], [3.0]]), torch.tensor([[4.0], [2.0], [0.0]])).tolist() == [
        1,
        0,
    ]


def test_a_zero_latent_has_no_direction_and_gets_the_first_code():
    codebook = torch.randn(90, 6, generator=torch.Generator().manual_seed(6))
    zeros = torch.cat([torch.zeros(5, 6), -torch.zeros(5, 6)])
    assert nearest(zeros, codebook, spherical=True).tolist() == [0] * 10


def test_a_zero_code_has_cosine_zero():
    codebook = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    latents = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    assert nearest(latents, codebook, spherical=True).tolist() == [1, 0]


@pytest.mark.parametrize("spherical", [False, True])
@pytest.mark.parametrize("tile_bytes", [1, 400, 10_000, 4 << 20])
@pytest.mark.parametrize("codes_per_tile", [1, 7, 100, 4096])
def test_the_tile_size_changes_no_index(monkeypatch, spherical, tile_bytes, codes_per_tile):
    latents, codebook = _problem((60, 230, 6), seed=7)
    expected = _distances(latents, codebook).argmin(dim=1)
    if spherical:
        expected = _cosines(latents, codebook).argmax(dim=1)
    monkeypatch.setattr(nearest_module, "TILE_BYTES", tile_bytes)
    monkeypatch.setattr(nearest_module, "_CODES_PER_TILE", codes_per_tile)
    assert torch.equal(nearest(latents, codebook, spherical=spherical), expected)


@pytest.mark.parametrize("spherical", [False, True])
def test_no_allocation_grows_with_latents_times_codes(spherical):
    latents, codebook = _problem((4096, 65536, 2), seed=8)  # 1 GiB as one matrix
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        nearest(latents, codebook, spherical=spherical)
    largest = max(event.self_cpu_memory_usage for event in profiler.events())
    assert nearest_module.TILE_BYTES // 2 <= largest <= 8 << 20


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_the_search_runs_in_float32_whatever_comes(dtype):
    latents, codebook = (tensor.to(dtype) for tensor in _problem((300, 500, 8), seed=9))
    expected = nearest(latents.float(), codebook.float())
    assert torch.equal(nearest(latents, codebook), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(nearest(latents, codebook), expected)


def test_no_latents_give_no_indices():
    for spherical in (False, True):
        indices = nearest(torch.zeros(0, 3), torch.ones(2, 3), spherical=spherical)
        assert indices.shape == (0,)
        assert indices.dtype == torch.int64


def test_the_search_leaves_its_arguments_and_the_graph_alone():
    latents, codebook = _problem((20, 10, 3), seed=10)
    originals = latents.clone(), codebook.clone()
    indices = nearest(latents.requires_grad_(), codebook.requires_grad_())
    assert not indices.requires_grad
    assert torch.equal(latents, originals[0])
    assert torch.equal(codebook, originals[1])


@pytest.mark.parametrize(
    ("latents", "codebook", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(4, 2), r"latents \(n, d\).* got \(2, 3\) and \(4, 2\)"),
        (torch.zeros(2, 3, 3), torch.zeros(4, 3), r"got \(2, 3, 3\) and \(4, 3\)"),
        (torch.zeros(2, 3), torch.zeros(3), r"got \(2, 3\) and \(3,\)"),
        (torch.zeros(2, 3), torch.zeros(0, 3), r"at least one code, got \(0, 3\)"),
        (torch.zeros(2, 0), torch.zeros(4, 0), r"at least one code, got \(4, 0\)"),
        (torch.zeros(2, 3).int(), torch.zeros(4, 3), "floating-point.* torch.int32 and"),
        (torch.zeros(2, 3), torch.zeros(4, 3).long(), "floating-point.* and torch.int64"),
    ],
)
def test_wrong_tensors_are_refused(latents, codebook, message):
    unchecked = inspect.unwrap(nearest)  # as users call it: without the run-time shape checks
    with pytest.raises(ValueError, match=message):
        unchecked(latents, codebook)


def _problem(size: tuple[int, int, int], seed: int) -> tuple[Tensor, Tensor]:
    n, v, d = size
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator), torch.randn(v, d, generator=generator)


def _distances(latents: Tensor, codebook: Tensor) -> Tensor:
    return (latents.double()[:, None] - codebook.double()).square().sum(dim=-1)


def _cosines(latents: Tensor, codebook: Tensor) -> Tensor:
    unit = torch.nn.functional.normalize
    return unit(latents.double(), dim=1) @ unit(codebook.double(), dim=1).T


def _assert_nearest(indices: Tensor, latents: Tensor, codebook: Tensor) -> None:
    distances = _distances(latents, codebook)
    chosen = distances.gather(1, indices[:, None]).squeeze(1)
    assert (chosen <= distances.amin(dim=1) * (1 + 1e-5)).all()
