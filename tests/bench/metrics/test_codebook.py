import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.metrics import CodebookReport, CodebookStatistics, CodebookUse, counting
from bench.metrics.counting import DenseCounter, SparseCounter

LARGE = 2**36  # nothing of this size may ever be allocated


def statistics(codebook_sizes, *batches):
    counted = CodebookStatistics(codebook_sizes)
    for batch in batches:
        counted.add(torch.as_tensor(batch))
    return counted.result()


def counter_entropy_bits(tokens):
    """Plug-in entropy by counting in plain Python."""
    counts = Counter(tokens).values()
    return -sum(c / len(tokens) * math.log2(c / len(tokens)) for c in counts)


def column(*tokens):
    """One codebook, no spatial axis."""
    return torch.tensor(tokens).view(-1, 1)


@pytest.mark.parametrize("size", [7, 2**20, 2**20 + 1, LARGE])
@settings(deadline=None, max_examples=10)
@given(data=st.data())
def test_equals_a_counter(size, data):
    token = st.integers(0, min(size, 7) - 1).map(lambda t: size - 1 - t)
    batches = data.draw(st.lists(st.lists(token, min_size=1, max_size=20), min_size=1, max_size=4))
    (use,) = statistics([size], *[column(*batch) for batch in batches]).codebooks
    tokens = [token for batch in batches for token in batch]
    assert use.tokens == len(tokens)
    assert use.used_codes == len(set(tokens))
    assert use.usage == len(set(tokens)) / size
    assert use.entropy_bits == pytest.approx(counter_entropy_bits(tokens), abs=1e-12)
    assert use.perplexity == pytest.approx(2 ** counter_entropy_bits(tokens), rel=1e-12)
    assert 1 <= use.perplexity <= use.used_codes + 1e-9


def test_half_used_evenly_has_perplexity_two_and_usage_one_half():
    (use,) = statistics([4], column(*[0] * 5, *[3] * 5)).codebooks
    assert use.perplexity == pytest.approx(2)
    assert use.usage == 0.5


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_uniform_use_has_perplexity_k(size):
    report = statistics([size], torch.arange(size).view(1, 1, -1))
    assert report.perplexity == pytest.approx(size)
    assert report.mean_usage == 1


def test_a_single_used_code_has_no_entropy():
    (use,) = statistics([8], column(3, 3, 3)).codebooks
    assert str(use.entropy_bits) == "0.0"
    assert use.perplexity == 1


def test_ceiling_is_the_usage_a_uniform_code_would_show():
    (use,) = statistics([65_536], torch.zeros(64, 1, 1000, dtype=torch.int64)).codebooks
    assert use.usage_ceiling == pytest.approx(1 - (1 - 1 / 65_536) ** 64_000, rel=1e-9)
    draws = np.random.default_rng(0).integers(65_536, size=64_000)
    assert len(set(draws.tolist())) / 65_536 == pytest.approx(use.usage_ceiling, abs=0.01)


def test_ceiling_is_accurate_where_one_minus_1_over_k_would_round():
    (use,) = statistics([2**60], column(1, 2, 3)).codebooks
    assert use.usage_ceiling == pytest.approx(3 / 2**60, rel=1e-12, abs=0)


def test_ceiling_of_a_single_code_is_one():
    assert statistics([1], column(0)).mean_usage_ceiling == 1


def test_codebooks_are_not_pooled():
    """Codebook 0 uses one code of four, codebook 1 all four: pooling would hide the collapse."""
    indices = torch.stack([torch.full((4,), 2), torch.arange(4)]).view(1, 2, 2, 2)
    report = statistics([4, 4], indices)
    assert [use.used_codes for use in report.codebooks] == [1, 4]
    assert report.mean_usage == pytest.approx((1 / 4 + 1) / 2)
    assert report.entropy_bits == pytest.approx(2)
    assert report.perplexity == pytest.approx(1 * 4)


@pytest.mark.parametrize("spatial", [(), (6,), (2, 3), (1, 2, 3)])
def test_any_number_of_spatial_axes_counts_alike(spatial):
    tokens = torch.randint(0, 5, (4, 6, 2), generator=torch.Generator().manual_seed(0))
    expected = statistics([5, 5], tokens.reshape(-1, 2))
    shaped = tokens.movedim(2, 1)
    indices = shaped.reshape(4, 2, *spatial) if spatial else tokens.reshape(24, 2)
    assert statistics([5, 5], indices) == expected


def test_merging_early_and_late_counts_alike(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randint(0, 40, (10, 1), generator=generator) for _ in range(12)]
    late = statistics([LARGE], *batches)
    monkeypatch.setattr(counting, "_MERGE_AT_LEAST", 15)
    assert statistics([LARGE], *batches) == late


def test_what_waits_to_be_counted_stays_below_the_limit(monkeypatch):
    """Then memory follows the codes seen, not the tokens."""
    monkeypatch.setattr(counting, "_MERGE_AT_LEAST", 15)
    counter = SparseCounter()
    for _ in range(50):
        counter.add(torch.arange(4))
        assert counter._waiting_rows == sum(map(len, counter._waiting)) < 15
    assert counter.counts().tolist() == [50] * 4


def test_small_codebooks_are_counted_in_an_array_and_large_ones_are_not():
    kinds = [type(counter) for counter in CodebookStatistics([2**20, 2**20 + 1])._counters]
    assert kinds == [DenseCounter, SparseCounter]


def test_waiting_tokens_are_safe_from_a_reused_buffer():
    buffer = column(1, 2, 3)
    counted = CodebookStatistics([LARGE])
    counted.add(buffer)
    buffer.fill_(9)
    counted.add(buffer)
    assert counted.result().codebooks[0].used_codes == 4


def test_results_may_be_read_before_more_is_added():
    counted = CodebookStatistics([4, LARGE])
    counted.add(torch.tensor([[0, 0]]))
    assert [use.tokens for use in counted.result().codebooks] == [1, 1]
    counted.add(torch.tensor([[1, 0]]))
    dense, sparse = counted.result().codebooks
    assert (dense.codebook_size, dense.used_codes, dense.tokens) == (4, 2, 2)
    assert (sparse.codebook_size, sparse.used_codes, sparse.tokens) == (LARGE, 1, 2)


def test_many_bits_do_not_overflow():
    """64 codebooks of 2^16 codes reach 1024 bits, beyond the largest float."""
    use = CodebookUse(codebook_size=2**16, tokens=2**16, used_codes=2**16, entropy_bits=16.0)
    assert CodebookReport(codebooks=(use,) * 64, joint=None).perplexity == math.inf


def test_a_continuous_latent_has_an_empty_report():
    counted = CodebookStatistics([])
    counted.add(torch.empty(2, 0, 4, 4, dtype=torch.int64))
    report = counted.result()
    assert report.codebooks == ()
    assert report.joint is None
    assert report.joint_entropy_bits is None
    assert report.miller_madow_entropy_bits is None
    assert report.mean_usage is None
    assert report.mean_usage_ceiling is None
    assert report.entropy_bits is None
    assert report.perplexity is None


@pytest.mark.parametrize(
    "sizes", [(3, 5), (LARGE, 2, LARGE), (2**63, 7, 2**63), (2,) * 70, (3,) * 40]
)
def test_joint_codes_equal_a_counter_of_tuples(sizes, monkeypatch):
    """40 trits need more than 2^63 numbers, but less than 2^64: an int64 would wrap."""
    monkeypatch.setattr(counting, "_MERGE_AT_LEAST", 15)
    generator = torch.Generator().manual_seed(0)
    few = torch.randint(0, 2, (10, 30, len(sizes)), generator=generator)
    few[..., :-2] = few[..., -2:-1]  # so that some joint codes recur
    batches = [batch * (torch.tensor([size - 1 for size in sizes])) for batch in few]
    joint = statistics(sizes, *batches).joint
    rows = [tuple(row.tolist()) for batch in batches for row in batch]
    assert joint.tokens == len(rows)
    assert joint.used_codes == len(set(rows))
    assert joint.entropy_bits == pytest.approx(counter_entropy_bits(rows), abs=1e-12)
    assert joint.capacity_bits == pytest.approx(sum(map(math.log2, sizes)))


def test_one_codebook_is_its_own_joint_code():
    report = statistics([9], column(1, 1, 2, 5))
    assert report.joint.used_codes == report.codebooks[0].used_codes
    assert report.joint_entropy_bits == report.entropy_bits


def test_miller_madow_adds_the_codes_but_one_over_twice_the_tokens():
    (use,) = statistics([16], column(0, 0, 0, 1, 2, 2, 2, 2)).codebooks
    expected = use.entropy_bits + 2 / (2 * 8) / math.log(2)
    assert use.miller_madow_entropy_bits == pytest.approx(expected, rel=1e-12)


def test_miller_madow_removes_most_of_the_bias():
    draws = torch.randint(0, 256, (200, 512, 1), generator=torch.Generator().manual_seed(0))
    uses = [statistics([256], tokens).codebooks[0] for tokens in draws]
    plug_in = 8 - np.mean([use.entropy_bits for use in uses])
    corrected = 8 - np.mean([use.miller_madow_entropy_bits for use in uses])
    assert abs(corrected) < plug_in / 4


def test_a_measured_rate_never_exceeds_the_nominal_one():
    report = statistics([2, 2], torch.tensor([[0, 0], [1, 1], [0, 1], [1, 0]]))
    assert report.miller_madow_entropy_bits == 2
    assert report.joint.miller_madow_entropy_bits == 2


@pytest.mark.parametrize("value", [-1, 4])
def test_index_outside_its_codebook_is_refused_by_name(value):
    counted = CodebookStatistics([9, 4])
    with pytest.raises(
        ValueError, match=rf"index {value} lies outside codebook 1, expected 0 to 3"
    ):
        counted.add(torch.tensor([[3, 3], [3, value]]))


def test_a_refused_batch_leaves_no_trace():
    counted = CodebookStatistics([4, 4])
    counted.add(torch.tensor([[1, 1]]))
    with pytest.raises(ValueError, match="outside codebook 1"):
        counted.add(torch.tensor([[2, 7]]))
    assert [use.tokens for use in counted.result().codebooks] == [1, 1]


def test_wrong_number_of_codebooks_is_refused():
    with pytest.raises(ValueError, match=r"\(b, 2, \*spatial\) for 2 codebooks, got \(5, 3, 4\)"):
        CodebookStatistics([4, 4]).add(torch.zeros(5, 3, 4, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_other_types_than_integers_are_refused(dtype, as_users_run):
    with pytest.raises(TypeError, match="must be integers"):
        CodebookStatistics([4]).add(torch.zeros(2, 1, dtype=dtype))


@pytest.mark.parametrize("size", [0, -3, 2**63 + 1])
def test_impossible_sizes_are_refused_at_construction(size):
    with pytest.raises(
        ValueError, match=rf"size of codebook 1 must be in \[1, 2\^63\], got {size}"
    ):
        CodebookStatistics([4, size])


def test_no_tokens_is_an_error():
    with pytest.raises(ValueError, match="no indices were added"):
        CodebookStatistics([4]).result()
