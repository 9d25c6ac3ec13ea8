"""The tree finds what brute force in float64 finds, or says that it is not certain."""

import pytest
import torch
from brute_force import nearest_of_all, permutations_of_a_code, problem, problem_with_ties

from quantizers.nearest import chunks, nearest

pytest.importorskip("numba")


def _search(latents, codebook):
    from quantizers.nearest.tree_numba import Tree

    return Tree(codebook).search(latents)


@pytest.mark.parametrize("channels", [2, 3, 4, 6])
@pytest.mark.parametrize("codes", [1, 2, 15, 16, 17, 300, 4097])
def test_what_is_certain_is_right_and_nearly_all_is_certain(channels, codes):
    latents, codebook = problem((700, codes, channels), seed=channels)
    found, certain = _search(latents, codebook)
    assert torch.equal(found[certain], nearest_of_all(latents, codebook)[certain])
    assert certain.float().mean() > 0.99


@pytest.mark.parametrize("channels", [2, 4])
def test_codes_close_together_and_far_from_the_latents_are_told_apart_in_float64(channels):
    latents, codebook = problem((700, 2000, channels), seed=4)
    codebook *= 1e-4
    found, certain = _search(latents, codebook)
    assert certain.float().mean() > 0.99
    assert torch.equal(found[certain], nearest_of_all(latents, codebook)[certain])


def test_of_equal_codes_in_two_channels_the_lowest_index_is_found():
    latents, codebook = problem((500, 900, 2), seed=1)
    codebook = codebook[torch.randint(900, (3000,), generator=torch.Generator().manual_seed(2))]
    found, certain = _search(latents, codebook)
    assert certain.float().mean() > 0.99
    assert torch.equal(found[certain], nearest_of_all(latents, codebook)[certain])


def test_a_tie_in_more_channels_is_never_certain():
    latents, codebook, tied = problem_with_ties((200, 5000, 5), seed=3)
    _, certain = _search(latents, codebook)
    assert not certain[tied].any()
    assert certain[~tied].all()


def test_permuted_squares_are_not_certain_though_one_order_of_sums_tells_them_apart():
    _, certain = _search(torch.zeros(3, 6), permutations_of_a_code(6, seed=5))
    assert not certain.any()


def test_a_latent_to_which_too_many_codes_are_as_near_is_left():
    generator = torch.Generator().manual_seed(6)
    sphere = torch.nn.functional.normalize(torch.randn(5000, 3, generator=generator), dim=1)
    latents = torch.cat([torch.zeros(2, 3), sphere[:2]])
    found, certain = _search(latents, sphere)
    assert certain.tolist() == [False, False, True, True]
    assert found[2:].tolist() == [0, 1]


@pytest.mark.parametrize("spherical", [False, True])
def test_searches_for_many_latents_take_the_tree_and_find_the_same(monkeypatch, spherical):
    from quantizers.nearest import tree_numba

    latents, codebook = problem((1488, 9000, 3), seed=9)
    codebook[7000:7050] = codebook[:50]
    codebook[-1] = torch.inf
    expected = nearest(latents, codebook, spherical=spherical)
    built = []
    tree = tree_numba.Tree
    monkeypatch.setattr(tree_numba, "Tree", lambda codes: built.append(1) or tree(codes))
    monkeypatch.setattr(chunks, "_TREE", [chunks.When(channels=3, codes=8999, latents=1488)])
    assert torch.equal(nearest(latents, codebook, spherical=spherical), expected)
    assert built == [1]
    nearest(latents[1:], codebook, spherical=spherical)
    nearest(latents, codebook[1:], spherical=spherical)
    nearest(*problem((1488, 8999, 4), seed=9), spherical=spherical)
    assert built == [1]


def test_one_thread_finds_the_same():
    latents, codebook = problem((3000, 700, 4), seed=8)
    expected = _search(latents, codebook)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert all(map(torch.equal, _search(latents, codebook), expected))
    finally:
        torch.set_num_threads(threads)
