"""The search in two passes: nothing of how it is divided shows in the result."""

import pytest
import torch
from brute_force import nearest_of_all, problem
from torch.profiler import ProfilerActivity, profile

from quantizers.nearest import chunks, nearest, two_passes

pytestmark = pytest.mark.usefixtures("way_to_search")

codes = pytest.mark.parametrize("codes", [2, 64, 65, 230, 2000])


@pytest.mark.parametrize("spherical", [False, True])
@pytest.mark.parametrize("length", [None, 2, 8, 256])
@pytest.mark.parametrize("numbers", [500, 1 << 20])
@codes
def test_blocks_and_chunks_change_no_index(monkeypatch, codes, length, numbers, spherical):
    latents, codebook = problem((150, codes, 6), seed=1)
    codebook = torch.cat([codebook[: codes // 2], codebook])[:codes]  # ties across blocks
    monkeypatch.setattr(two_passes, "_MAX_FEW_CODES", 0 if length else 1 << 20)
    monkeypatch.setattr(two_passes, "block_length", lambda codes, channels: length)
    monkeypatch.setattr(chunks, "_CHUNK_NUMBERS", numbers)
    expected = nearest_of_all(latents, codebook, spherical=spherical)
    assert torch.equal(nearest(latents, codebook, spherical=spherical), expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [("_TILE_CODES", 256), ("_TILE_SCORES", 9000), ("_MAX_COMPARED", 1), ("_MAX_MAXIMA", 1)],
)
@codes
def test_tiles_change_no_index(monkeypatch, codes, name, value):
    latents, codebook = problem((600, codes, 3), seed=2)
    monkeypatch.setattr(two_passes, name, value)
    assert torch.equal(nearest(latents, codebook), nearest_of_all(latents, codebook))


def test_products_are_in_full_precision_whatever_is_allowed(monkeypatch):
    cpu, during = torch.backends.mkldnn.matmul, []

    def search(_, latents):
        during.append(cpu.fp32_precision)
        return torch.zeros(len(latents), dtype=torch.int64)

    monkeypatch.setattr(two_passes.FewCodes, "search", search)
    for allowed in ("medium", "highest"):
        torch.set_float32_matmul_precision(allowed)
        try:
            before = cpu.fp32_precision
            two_passes.TwoPasses(torch.ones(2, 3)).search(torch.ones(1, 3))
            assert cpu.fp32_precision == before
        finally:
            torch.set_float32_matmul_precision("highest")
    assert during == ["ieee", "ieee"]


@codes
def test_codes_that_float32_cannot_tell_apart_are_told_apart(codes):
    latents, directions = problem((60, codes, 5), seed=3)
    codebook = torch.ones(5) + 1e-6 * directions
    codebook[0] = 50  # the centre of the codebook is far from the others
    _assert_nearest(latents, codebook)
    _assert_nearest(torch.ones(5) + 1e-6 * latents, codebook)


@codes
def test_one_code_far_away_costs_the_others_no_digits(codes):
    latents, codebook = problem((60, codes, 4), seed=4)
    codebook[-1] = 3e38
    _assert_nearest(latents, codebook)
    codebook[0] = -3e38
    _assert_nearest(latents, codebook)


@codes
def test_codes_whose_mean_overflows_are_told_apart(codes):
    latents, codebook = (1e38 * (2 + tensor.tanh()) for tensor in problem((300, codes, 6), seed=14))
    assert codebook.mean(dim=0).isinf().all() or codes == 2
    assert torch.equal(nearest(latents, codebook), nearest_of_all(latents, codebook))


@codes
def test_far_latents_tie_as_they_do_in_float64(codes):
    latents, codebook = problem((2000, codes, 3), seed=15)
    latents *= 2.0**50  # so far that distances to different codes are equal in float64
    assert torch.equal(nearest(latents, codebook), nearest_of_all(latents, codebook))


@codes
def test_a_latent_of_any_length_finds_its_code(codes):
    latents, codebook = problem((60, codes, 4), seed=5)
    latents *= torch.logspace(-37, 37, 60)[:, None]
    for scale in (1e-30, 1.0, 1e30):
        _assert_nearest(latents, scale * codebook)


@codes
def test_one_code_many_times_is_found_at_its_first_place(codes):
    latents, codebook = problem((20, codes, 4), seed=6)
    assert not nearest(latents, codebook[:1].expand(codes, -1)).any()
    assert not nearest(torch.zeros(20, 4), torch.eye(4)[:1].repeat(codes, 1)).any()


def test_the_bound_holds_for_every_score():
    latents, codebook = problem((500, 4096, 16), seed=7)
    blocks = two_passes.ManyCodes(codebook, two_passes.block_length(*codebook.shape))
    possible = blocks._possible(latents)
    exact = nearest_of_all(latents, codebook)
    assert possible[exact // blocks.length, torch.arange(500)].all()
    assert possible.sum() < 1.05 * 500  # the bound rules out nearly everything else


def test_every_tile_holds_whole_blocks():
    lengths = [two_passes.block_length(2**bits, 8) for bits in range(11, 25)]
    assert lengths == sorted(lengths)
    assert lengths[0] >= 4
    assert all(two_passes._TILE_CODES % length == 0 for length in lengths)


@pytest.mark.parametrize(("channels", "spherical"), [(2, True), (3, False), (3, True)])
def test_no_allocation_grows_with_latents_times_codes(channels, spherical):
    latents, codebook = problem((2048, 32768, channels), seed=8)  # 256 MiB as one matrix
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        nearest(latents, codebook, spherical=spherical)
    assert max(event.self_cpu_memory_usage for event in profiler.events()) <= 9 << 20


def _assert_nearest(latents, codebook):
    assert torch.equal(nearest(latents, codebook), nearest_of_all(latents, codebook))
