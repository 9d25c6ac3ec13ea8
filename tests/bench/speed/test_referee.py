import pytest
import torch

from bench.speed.referee import Referee


@pytest.fixture
def latents():
    return torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def codes():
    return torch.randn(64, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def right(latents, codes):
    return torch.cdist(latents.double(), codes.double()).argmin(dim=1)


def test_the_nearest_codes_are_right(latents, codes, right):
    assert Referee(latents, codes).wrong(right) == 0


def test_one_wrong_row_among_those_searched_in_float64_is_found(latents, codes, right):
    right[0] = (right[0] + 1) % 64
    assert Referee(latents, codes).wrong(right) == 1


def test_a_wrong_row_elsewhere_is_found_once_another_search_found_better(latents, codes, right):
    referee, found = Referee(latents, codes), right.clone()
    found[1] = (right[1] + 1) % 64
    assert referee.wrong(found) == 0
    referee.learn(right)
    assert referee.wrong(found) == 1


def test_an_index_of_no_code_and_a_missing_row_are_wrong(latents, codes, right):
    referee = Referee(latents, codes)
    referee.learn(right)
    found = right.clone()
    found[5], found[6] = 64, -1
    assert referee.wrong(found) == 2
    assert referee.wrong(right[1:]) == len(latents)


def test_either_of_two_equal_codes_is_right(latents, codes, right):
    doubled = torch.cat([codes, codes])
    assert Referee(latents, doubled).wrong(right + 64) == 0


def test_what_float32_cannot_tell_apart_is_right_and_what_it_can_is_not():
    latents, codes = torch.full((300, 1), 1.0), torch.tensor([[1.0], [1.0002], [1.01]])
    referee = Referee(latents, codes)
    assert referee.wrong(torch.ones(300, dtype=torch.int64)) == 0
    assert referee.wrong(torch.full((300,), 2)) >= 256


def test_on_the_sphere_only_directions_count(latents, codes):
    cosines = torch.nn.functional.normalize(codes, dim=1) @ latents.T
    found = cosines.argmax(dim=0)
    assert Referee(latents, codes, spherical=True).wrong(found) == 0
    assert Referee(latents, codes).wrong(found) > 0
