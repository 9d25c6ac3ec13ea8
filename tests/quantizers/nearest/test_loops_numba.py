"""The compiled loops find what brute force in float64 finds, or say that they are not certain."""

import warnings

import pytest
import torch
from brute_force import nearest_of_all, permutations_of_a_code, problem, problem_with_ties

from quantizers.nearest import chunks, nearest

pytest.importorskip("numba")


def _search(latents, codebook):
    from quantizers.nearest.loops import Loops

    return Loops(codebook).search(latents)


@pytest.mark.parametrize("channels", [2, 3, 4, 7, 8, 11, 16, 17, 70])
@pytest.mark.parametrize("codes", [1, 2, 7, 8, 9, 300, 4097])
def test_what_is_certain_is_right_and_nearly_all_is_certain(channels, codes):
    latents, codebook = problem((700, codes, channels), seed=channels)
    found, certain = _search(latents, codebook)
    assert torch.equal(found[certain], nearest_of_all(latents, codebook)[certain])
    assert certain.float().mean() > 0.99


def test_codes_close_together_and_far_from_the_latents_are_told_apart_in_float64():
    """In float32 the distances of half of them are equal."""
    latents, codebook = problem((700, 2000, 3), seed=4)
    codebook *= 1e-4
    found, certain = _search(latents, codebook)
    assert torch.equal(found[certain], nearest_of_all(latents, codebook)[certain])
    assert certain.float().mean() > 0.9


@pytest.mark.parametrize("codes", [40, 5000])
def test_a_tie_is_never_certain(codes):
    latents, codebook, tied = problem_with_ties((200, codes, 5), seed=3)
    _, certain = _search(latents, codebook)
    assert not certain[tied].any()
    assert certain[~tied].float().mean() > 0.9


def test_a_tie_of_codes_that_are_compared_together_is_never_certain():
    latents, codebook = problem((200, 40, 5), seed=3)
    codebook[1::2] = codebook[::2]
    assert not _search(latents, codebook)[1].any()


@pytest.mark.parametrize("codes", [2, 50])
def test_permuted_squares_are_not_certain_though_one_order_of_sums_tells_them_apart(codes):
    for codebook in permutations_of_a_code(8, seed=5).split(codes):
        _, certain = _search(torch.zeros(3, 8), codebook)
        assert not certain.any()


def test_where_all_lie_far_from_zero_nearly_all_is_certain():
    latents, codebook = (64 + rows for rows in problem((700, 300, 6), seed=11))
    found, certain = _search(latents, codebook)
    assert torch.equal(found[certain], nearest_of_all(latents, codebook)[certain])
    assert certain.float().mean() > 0.99


def test_latents_so_far_that_float64_tells_no_codes_apart_are_not_certain():
    latents, codebook = problem((200, 300, 3), seed=15)
    assert not _search(2.0**50 * latents, codebook)[1].any()


def test_codes_of_very_unlike_lengths_are_left_to_products():
    latents, codebook = problem((20, 300, 4), seed=12)
    codebook[7] *= 1e4
    assert not _search(latents, codebook)[1].any()


def test_few_latents_of_a_share_are_compared_with_all_codes():
    from quantizers.nearest.loops_numba import FULL_SEARCHES

    latents, codebook = problem((12, 600, 4), seed=6)  # fewer than any strip
    codebook[300:] = codebook[:300] + 1e-6  # float32 scores do not tell them apart
    found, certain = _search(latents, codebook)
    assert certain.sum() == FULL_SEARCHES
    assert torch.equal(found[certain], nearest_of_all(latents, codebook)[certain])


@pytest.mark.parametrize("length", [2.0**61, 2.0**64, 1e37])
def test_a_latent_whose_square_overflows_costs_the_others_nothing(length):
    latents, codebook = problem((3, 600, 4), seed=7)
    latents[1] *= length
    found, certain = _search(latents, codebook)
    assert certain.tolist() == [True, False, True]
    assert torch.equal(found[certain], nearest_of_all(latents, codebook)[certain])


def test_the_number_of_threads_changes_no_index_and_stays():
    import numba

    latents, codebook = problem((3000, 700, 6), seed=8)
    expected = _search(latents, codebook)
    threads, theirs = torch.get_num_threads(), numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        for number in (1, 2):
            torch.set_num_threads(number)
            assert all(map(torch.equal, _search(latents, codebook), expected))
            assert torch.get_num_threads() == number
        assert numba.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
        numba.set_num_threads(theirs)


@pytest.mark.parametrize("spherical", [False, True])
def test_large_searches_take_the_loops_and_find_the_same(monkeypatch, spherical):
    latents, codebook = problem((1100, 1500, 6), seed=9)
    codebook[700:750] = codebook[:50]
    codebook[-1] = torch.inf
    calls = []
    numba = chunks._numba()
    monkeypatch.setattr(chunks, "_numba", lambda: calls.append("numba") or numba)
    found = nearest(latents, codebook, spherical=spherical)
    assert calls == ["numba"]
    monkeypatch.setattr(chunks, "_numba", lambda: calls.append("none"))
    assert torch.equal(nearest(latents, codebook, spherical=spherical), found)
    assert calls == ["numba", "none"]


@pytest.mark.parametrize("error", [ImportError("NumPy is too new"), RuntimeError("no locator")])
def test_a_numba_that_cannot_be_imported_is_named_and_done_without(monkeypatch, error):
    def refuse(name):
        raise error

    monkeypatch.setattr(chunks, "import_module", refuse)
    latents, codebook = problem((1100, 1500, 6), seed=10)
    expected = nearest_of_all(latents, codebook)
    chunks._numba.cache_clear()
    with pytest.warns(UserWarning, match=f"without Numba.*{error}.*NUMBA_CACHE_DIR"):
        assert torch.equal(nearest(latents, codebook), expected)
    with warnings.catch_warnings(action="error"):
        nearest(latents, codebook)  # once is enough
    chunks._numba.cache_clear()


def test_without_numba_there_is_no_warning(monkeypatch):
    monkeypatch.setattr(chunks, "find_spec", lambda name: None)
    chunks._numba.cache_clear()
    latents, codebook = problem((1100, 1500, 6), seed=10)
    nearest(latents, codebook)
    assert chunks._numba() is None
    chunks._numba.cache_clear()
