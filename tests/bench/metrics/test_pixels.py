import pytest
import torch

from bench.metrics import to_float, to_uint8
from bench.metrics.pixels import check_images, check_pair, paired_chunks


def test_all_256_values_survive_the_round_trip():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(levels)), levels)


def test_the_ends_of_the_byte_range_are_the_ends_of_the_interval():
    assert to_float(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]


def test_values_are_rounded_to_the_nearest_level_not_truncated():
    x = (torch.tensor([99.6, 100.4]) / 127.5) - 1
    assert to_uint8(x).tolist() == [100, 100]


def test_the_border_between_two_levels_lies_half_way_at_both_ends():
    x = torch.tensor([0.45, 0.55, 127.45, 127.55, 254.45, 254.55], dtype=torch.float64) / 127.5 - 1
    assert to_uint8(x).tolist() == [0, 1, 127, 128, 254, 255]


def test_truncation_would_damage_an_identity_decoder():
    """The reason for rounding, and the measurement behind the claim of the module."""
    levels = torch.arange(256, dtype=torch.uint8)
    truncated = ((to_float(levels) + 1) * 127.5).to(torch.uint8)
    assert not torch.equal(truncated, levels)


def test_values_outside_the_interval_are_clamped():
    x = torch.tensor([-3.0, 3.0, -torch.inf, torch.inf])
    assert to_uint8(x).tolist() == [0, 255, 0, 255]


def test_half_precision_is_widened_before_it_is_scaled():
    x = torch.linspace(-1, 1, 1001).bfloat16()
    assert torch.equal(to_uint8(x), to_uint8(x.float()))


def test_nan_is_refused():
    with pytest.raises(ValueError, match="diverged"):
        to_uint8(torch.tensor([0.0, torch.nan]))


def test_floats_are_refused_with_the_name_of_the_converter():
    with pytest.raises(TypeError, match="to_uint8"):
        check_images(torch.zeros(1, 3, 8, 8), "reference")


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 1, 8, 8), (2, 8, 8, 3), (0, 3, 8, 8)])
def test_other_shapes_than_rgb_stacks_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(n, 3, h, w\)"):
        check_images(torch.zeros(shape, dtype=torch.uint8), "reference")


def test_unequal_counts_are_refused():
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match="shapes must be equal"):
        check_pair(images, images[:3])


def test_both_stacks_of_a_pair_are_checked():
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(TypeError, match="reconstruction"):
        check_pair(images, images.float())


def test_chunks_are_small_aligned_and_lose_nothing():
    reference = torch.arange(40, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 256, 256)
    chunks = list(paired_chunks(reference, reference + 1))
    assert len(chunks) > 1
    assert all(x.numel() <= 2**20 for x, _ in chunks)
    assert all(torch.equal(x + 1, y) for x, y in chunks)
    assert torch.equal(torch.cat([x for x, _ in chunks]), reference)


def test_an_image_larger_than_a_chunk_is_a_chunk():
    images = torch.zeros(2, 3, 600, 600, dtype=torch.uint8)
    assert [len(x) for x, _ in paired_chunks(images, images)] == [1, 1]
