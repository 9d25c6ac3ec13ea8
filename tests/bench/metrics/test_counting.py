import pytest
import torch

from bench.metrics import CodebookStatistics, counting
from bench.metrics.counting import DenseCounter, JointCounter, SparseCounter


@pytest.mark.parametrize("sizes", [(3,) * 40, (2,) * 70, (5, 2**62, 3)], ids=len)
def test_joint_codes_come_back_as_they_were_counted(sizes):
    """40 trits need more than 2^63 numbers, but less than 2^64: an int64 would wrap."""
    highest = torch.tensor([size - 1 for size in sizes])
    codes = torch.stack([highest, 0 * highest, 0 * highest], dim=1)
    codes[-1, 2] = 1
    counter = JointCounter(sizes)
    counter.add(codes)
    counter.add(codes[:, :1])
    found = dict(zip(map(tuple, counter.codes().tolist()), counter.counts().tolist(), strict=True))
    assert found == dict(zip(map(tuple, codes.T.tolist()), (2, 1, 1), strict=True))


def test_what_waits_to_be_counted_stays_below_the_limit(monkeypatch):
    """So memory follows the codes seen and not the tokens."""
    monkeypatch.setattr(counting, "_MERGE_AT_LEAST", 15)
    counter = SparseCounter()
    for _ in range(50):
        counter.add(torch.arange(4))
        assert counter._waiting_rows == sum(map(len, counter._waiting)) < 15
    assert counter.counts().tolist() == [50] * 4


def test_small_codebooks_are_counted_in_an_array_and_large_ones_are_not():
    kinds = [type(counter) for counter in CodebookStatistics([2**20, 2**20 + 1])._counters]
    assert kinds == [DenseCounter, SparseCounter]
