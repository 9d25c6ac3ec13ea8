import pytest
import torch

from bench.speed.referee import wrong_rows


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
    assert wrong_rows(latents, codes, [right]) == [0]


def test_one_wrong_row_among_those_searched_in_float64_is_counted(latents, codes, right):
    right[0] = (right[0] + 1) % 64
    assert wrong_rows(latents, codes, [right]) == [1]


def test_a_wrong_row_elsewhere_is_counted_if_another_search_did_better(latents, codes, right):
    other = right.clone()
    other[1] = (right[1] + 1) % 64
    assert wrong_rows(latents, codes, [other]) == [0]
    assert wrong_rows(latents, codes, [other, right]) == [1, 0]


def test_an_index_of_no_code_and_a_missing_row_are_wrong(latents, codes, right):
    other = right.clone()
    other[5], other[6] = 64, -1
    assert wrong_rows(latents, codes, [right, other, right[1:]]) == [0, 2, len(latents)]


def test_either_of_two_equal_codes_is_right(latents, codes, right):
    assert wrong_rows(latents, torch.cat([codes, codes]), [right + 64]) == [0]


def test_what_float32_cannot_tell_apart_is_right_and_what_it_can_is_not():
    latents, codes = torch.full((300, 1), 1.0), torch.tensor([[1.0], [1.0002], [1.01]])
    answers = [torch.ones(300, dtype=torch.int64), torch.full((300,), 2)]
    assert wrong_rows(latents, codes, answers) == [0, 300]


def test_on_the_sphere_only_directions_count(latents, codes):
    indices = (torch.nn.functional.normalize(codes, dim=1) @ latents.T).argmax(dim=0)
    assert wrong_rows(latents, codes, [indices], spherical=True) == [0]
    assert wrong_rows(latents, codes, [indices])[0] > 0
