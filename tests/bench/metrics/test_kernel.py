"""The kernel distance in blocks: the estimator of `bench.statistics`, and its bias."""

import pytest
import torch

from bench.metrics import kernel
from bench.metrics.kernel import kernel_in_blocks
from bench.statistics import kernel_distance, leave_group_out_kernel


def pair(images, dimension, seed=0, damage=0.5):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(images, dimension, generator=generator, dtype=torch.float64)
    noise = torch.randn(images, dimension, generator=generator, dtype=torch.float64)
    return first, 0.8 * first + damage * noise


@pytest.mark.parametrize(("images", "rows"), [(45, 7), (40, 10), (64, 1000), (3, 1), (21, 20)])
def test_blocks_give_the_distance_of_the_judge(images, rows, monkeypatch):
    monkeypatch.setattr(kernel, "_ROWS", rows)
    first, second = pair(images, 12)
    distance, left_out = kernel_in_blocks(first, second)
    assert distance == pytest.approx(kernel_distance(first.numpy(), second.numpy()))
    expected = leave_group_out_kernel(first.numpy(), second.numpy())
    assert left_out == pytest.approx(expected.tolist())


def test_float32_features_are_summed_in_float64():
    first, second = (part.float() for part in pair(50, 12))
    expected = kernel_distance(first.double().numpy(), second.double().numpy())
    assert kernel_in_blocks(first, second).value == pytest.approx(expected, rel=1e-12)


def test_identical_sets_have_no_distance():
    """Each summand is 0, while the estimator for independent sets would be below 0."""
    features = pair(30, 12)[0]
    assert kernel_in_blocks(features, features).value == pytest.approx(0, abs=1e-12)


def test_two_images_have_a_distance_but_no_group_to_leave_out():
    distance, left_out = kernel_in_blocks(*pair(2, 12))
    assert distance == pytest.approx(kernel_distance(*(p.numpy() for p in pair(2, 12))))
    assert left_out == []


def test_paired_sets_of_one_distribution_give_zero_in_the_mean():
    """Unbiased although reconstructions depend on their originals: y has the law of x."""
    values = torch.tensor(
        [kernel_in_blocks(*pair(30, 8, seed=seed, damage=0.6)).value for seed in range(100)]
    )
    assert values.mean().abs() < 3 * values.std() / len(values) ** 0.5


@pytest.mark.parametrize("shapes", [((4, 3), (5, 3)), ((4, 3), (4, 2)), ((1, 3), (1, 3))])
def test_sets_that_are_not_paired_are_refused(shapes, as_users_run):
    with pytest.raises(ValueError, match="paired features of one shape and at least 2 images"):
        kernel_in_blocks(*(torch.zeros(shape) for shape in shapes))
