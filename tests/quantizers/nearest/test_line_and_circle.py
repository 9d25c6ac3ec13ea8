"""The search by sorting, on the line and on the circle."""

import pytest
import torch
from brute_force import nearest_of_all, problem
from hypothesis import given
from hypothesis import strategies as st

from quantizers.nearest import line_and_circle, nearest

# Numbers whose midpoints, quotients and angles coincide
values = st.sampled_from([-3.0, -1.5, -1.0, -0.5, -0.0, 0.0, 0.25, 0.5, 1.0, 2.0, 3.0])


@given(latents=st.lists(values, min_size=1), codes=st.lists(values, min_size=1))
def test_a_midpoint_goes_to_the_lower_index(latents, codes):
    latents, codebook = torch.tensor(latents)[:, None], torch.tensor(codes)[:, None]
    assert torch.equal(nearest(latents, codebook), nearest_of_all(latents, codebook))


def test_the_line_needs_no_digits_of_float64():
    latents = torch.tensor([[3e38], [-3e38], [1e-45], [-1e-45]])
    codebook = torch.tensor([[0.0], [1.0], [-1.0], [3e-45]])
    assert nearest(latents, codebook).tolist() == [1, 2, 0, 0]
    assert nearest(latents, 2 * codebook).tolist() == [1, 2, 0, 0]
    longest = torch.tensor([[2e38], [3e38]])  # their sum overflows float32
    assert nearest(torch.tensor([[2.4e38], [2.6e38]]), longest).tolist() == [0, 1]


def test_midpoints_between_two_codes_in_both_orders():
    latents = torch.tensor([[1.0], [3.0], [1.0 - 2**-24], [1.0 + 2**-23]])
    assert nearest(latents, torch.tensor([[4.0], [2.0], [0.0]])).tolist() == [1, 0, 2, 1]
    assert nearest(latents, torch.tensor([[0.0], [2.0], [4.0]])).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
def test_many_codes_on_a_line_are_told_apart(scale):
    latents, codebook = (scale * tensor for tensor in problem((300, 20_000, 1), seed=11))
    assert torch.equal(nearest(latents, codebook), nearest_of_all(latents, codebook))


@given(latents=st.lists(st.tuples(values, values)), codes=st.lists(st.tuples(values, values)))
def test_on_the_circle_equal_angles_go_to_the_lower_index(latents, codes):
    latents = torch.tensor([*latents, (1.0, 0.0)])
    codebook = torch.tensor([*codes, (-1.0, 0.5), (2.0, -1.0)])
    expected = nearest_of_all(latents, codebook, spherical=True)
    assert torch.equal(nearest(latents, codebook, spherical=True), expected)


def test_a_direction_halfway_between_two_goes_to_the_lower_index():
    latent, codebook = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, -1.0], [1.0, 1.0]])
    assert nearest(latent, codebook, spherical=True).tolist() == [0]
    assert nearest(latent, codebook.flip(0), spherical=True).tolist() == [0]


def test_the_circle_closes():
    latents = torch.tensor([[-1.0, 0.01], [-1.0, -0.01], [-1.0, 0.0], [-1.0, -0.0]])
    codebook = torch.tensor([[1.0, 0.0], [-1.0, 0.3], [-1.0, -0.2]])
    assert nearest(latents, codebook, spherical=True).tolist() == [2, 2, 2, 2]
    assert nearest(latents, codebook[:2], spherical=True).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("near_an_axis", [False, True])
def test_many_codes_on_a_circle_are_told_apart(near_an_axis):
    latents, codebook = problem((300, 20_000, 2), seed=12)
    if near_an_axis:
        latents[:, 0], codebook[:, 0] = 1e-6 * latents[:, 0], 1e-6 * codebook[:, 0]
    expected = nearest_of_all(latents, codebook, spherical=True)
    assert torch.equal(nearest(latents, codebook, spherical=True), expected)


def test_angles_grow_all_the_way_round():
    turn = torch.linspace(-torch.pi + 1e-3, torch.pi, 20_001, dtype=torch.float64)
    vectors = torch.stack([turn.cos(), turn.sin()], dim=1).float()
    angles = line_and_circle._angles(vectors)
    assert (angles.diff() > 0).all()
    assert torch.equal(line_and_circle._angles(vectors.bfloat16().float() * 3), _bfloat16(vectors))
    axes = torch.tensor([[0.0, -2.0], [1e-40, 0.0], [0.0, 1.0], [-3.0, 0.0]])
    quarter = 2 * line_and_circle._EIGHTH
    assert line_and_circle._angles(axes).tolist() == [-quarter, 0, quarter, 2 * quarter]


def test_parts_of_the_latents_change_no_index(monkeypatch):
    latents, codebook = problem((100, 50, 2), seed=13)
    expected = nearest(latents, codebook, spherical=True), nearest(latents[:, :1], codebook[:, :1])
    monkeypatch.setattr(line_and_circle, "_TILE_LATENTS", 7)
    assert torch.equal(nearest(latents, codebook, spherical=True), expected[0])
    assert torch.equal(nearest(latents[:, :1], codebook[:, :1]), expected[1])


def _bfloat16(vectors):
    return line_and_circle._angles(vectors.bfloat16().float())
