"""The float32 search of accelerators, on a CPU.

The margin rule: where the best two codes differ by less than float32 can tell, either is right.
For distances that is an excess of 1e-5 of the best distance, for cosines (on the unit sphere,
where one is the natural scale) an excess of 1e-6.
"""

import pytest
import torch
from brute_force import nearest_of_all, problem
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from quantizers.nearest import accelerator


def search_float32(latents: Tensor, codebook: Tensor, *, spherical: bool) -> Tensor:
    """The search of one group."""
    return accelerator.search_float32(latents[None], codebook[None], spherical=spherical)[0]


sizes = st.tuples(st.integers(1, 40), st.integers(1, 300), st.integers(2, 24))
seeds = st.integers(0, 10_000)


@given(size=sizes, seed=seeds, offset=st.sampled_from([0.0, 1.0, 1e3]))
def test_no_code_is_nearer_by_more_than_the_margin(size, seed, offset):
    latents, codebook = (tensor + offset for tensor in problem(size, seed))
    found = search_float32(latents, codebook, spherical=False)
    best = codebook[nearest_of_all(latents, codebook)].double()
    excess = (latents - codebook[found].double()).square().sum(1) / (latents - best).square().sum(1)
    assert (excess <= 1 + 1e-5).all()


@given(size=sizes, seed=seeds, scale=st.sampled_from([1e-30, 1.0, 1e30]))
def test_no_direction_is_closer_by_more_than_the_margin(size, seed, scale):
    latents, codebook = problem(size, seed)
    found = search_float32(scale * latents, scale * codebook, spherical=True)
    unit = torch.nn.functional.normalize
    cosines = unit(latents.double(), dim=1) @ unit(codebook.double(), dim=1).T
    chosen = cosines.gather(1, found[:, None]).squeeze(1)
    assert (chosen >= cosines.amax(dim=1) - 1e-6).all()


def test_bf16_rounds_the_factors_and_nothing_else():
    latents, codebook = problem((300, 500, 6), seed=4)
    found = accelerator.search_float32(
        latents[None], codebook[None], spherical=False, precision="bf16"
    )[0]
    scores = latents.bfloat16().double() @ codebook.bfloat16().double().T
    scores -= codebook.double().square().sum(dim=1) / 2
    chosen = scores.gather(1, found[:, None]).squeeze(1)
    assert (chosen >= scores.amax(dim=1) - 1e-5).all()
    assert not torch.equal(found, search_float32(latents, codebook, spherical=False))


@pytest.mark.parametrize("tile", [7, 4096])
def test_equal_codes_infinite_codes_and_zeros_are_as_on_a_cpu(monkeypatch, tile):
    monkeypatch.setattr(accelerator, "_TILE_CODES", tile)
    monkeypatch.setattr(accelerator, "_TILE_LATENTS", tile)
    generator = torch.Generator().manual_seed(1)
    latents = torch.randint(-2, 3, (50, 3), generator=generator).float()
    codebook = torch.randint(-2, 3, (20, 3), generator=generator).float()
    codebook = torch.cat([torch.full((1, 3), -torch.inf), codebook, codebook])
    codebook[5, 1] = torch.inf
    finite = codebook.isfinite().all(dim=1).nonzero().squeeze(1)
    expected = finite[nearest_of_all(latents, codebook[finite])]
    assert torch.equal(search_float32(latents, codebook, spherical=False), expected)
    signs = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    tied = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
    assert search_float32(tied, signs, spherical=True).tolist() == [1, 0, 0]


@pytest.mark.parametrize("spherical", [False, True])
def test_nothing_but_infinite_codes_gives_the_first(spherical):
    codebook = torch.full((5, 3), torch.inf)
    assert not search_float32(torch.ones(4, 3), codebook, spherical=spherical).any()
    assert search_float32(torch.ones(0, 3), codebook, spherical=spherical).shape == (0,)


@pytest.mark.parametrize("spherical", [False, True])
def test_groups_are_searched_as_each_alone(monkeypatch, spherical):
    monkeypatch.setattr(accelerator, "_TILE_CODES", 7)
    monkeypatch.setattr(accelerator, "_TILE_LATENTS", 7)
    latents, codebook = problem((3 * 20, 3 * 30, 5), seed=3)
    latents, codebook = latents.view(20, 3, 5).movedim(1, 0), codebook.view(3, 30, 5).clone()
    codebook[1] += 1e3  # each has an offset of its own
    codebook[2, 4] = torch.inf
    found = accelerator.search_float32(latents, codebook, spherical=spherical)
    alone = [
        search_float32(*pair, spherical=spherical) for pair in zip(latents, codebook, strict=True)
    ]
    assert torch.equal(found, torch.stack(alone))
