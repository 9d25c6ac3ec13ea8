import numpy as np
import pytest
import torch

from bench.metrics.infinity import StreamingMoments, moments_frechet_distance
from bench.statistics import frechet_distance


def features(count, dimension, seed, scale=1.0, shift=0.0):
    """Correlated features whose variances span four decades."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dimension, dimension, generator=generator, dtype=torch.float64)
    spread = torch.logspace(-2, 2, dimension, dtype=torch.float64).sqrt()
    normal = torch.randn(count, dimension, generator=generator, dtype=torch.float64)
    return scale * (normal * spread) @ mixing + shift


def streamed(x, batch):
    moments = StreamingMoments(x.shape[1])
    for part in x.split(batch):
        moments.add(part)
    return moments


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_moments_equal_those_of_the_whole_in_batches_of_any_size(batch, shift):
    x = features(200, 12, seed=0, shift=shift)
    moments = streamed(x, batch)
    assert moments.count == 200
    np.testing.assert_allclose(moments.mean, x.numpy().mean(axis=0), rtol=1e-12, atol=1e-12)
    whole = np.cov(x.numpy(), rowvar=False)
    np.testing.assert_allclose(moments.covariance(), whole, rtol=0, atol=1e-8 * whole.max())


@pytest.mark.parametrize(("count", "dimension"), [(300, 24), (25, 24), (10, 24), (2, 5)])
def test_the_distance_equals_that_of_whole_arrays(count, dimension):
    first = features(count, dimension, seed=0)
    second = features(count, dimension, seed=1, scale=1.3, shift=0.4)
    expected = frechet_distance(first.numpy(), second.numpy())
    ours = moments_frechet_distance(streamed(first, 16), streamed(second, 9))
    assert expected > 0.1
    assert ours == pytest.approx(expected, rel=1e-9)


def test_the_distance_equals_that_of_torch_fidelity():
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    first, second = features(300, 24, seed=0), features(250, 24, seed=1, shift=0.4)
    statistics = [fid_features_to_statistics(x) for x in (first, second)]
    expected = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    ours = moments_frechet_distance(streamed(first, 50), streamed(second, 50))
    assert ours == pytest.approx(expected, rel=1e-6)


def test_identity_scores_zero_and_the_distance_is_symmetric():
    first, second = streamed(features(60, 9, seed=0), 8), streamed(features(60, 9, seed=1), 8)
    scale = float(first.covariance().trace())
    assert moments_frechet_distance(first, first) == pytest.approx(0, abs=1e-9 * scale)
    assert moments_frechet_distance(first, second) == pytest.approx(
        moments_frechet_distance(second, first), rel=1e-9
    )


def test_features_that_never_change_are_no_trouble():
    first, second = torch.ones(9, 4), torch.ones(9, 4)
    second[:, 0] = 3
    distance = moments_frechet_distance(streamed(first, 2), streamed(second, 2))
    assert distance == pytest.approx(4)


def test_an_empty_batch_changes_nothing():
    moments = streamed(features(9, 3, seed=0), 4)
    before = moments.covariance()
    moments.add(torch.zeros(0, 3))
    assert moments.count == 9
    assert torch.equal(moments.covariance(), before)


def test_one_image_has_no_covariance():
    moments = streamed(torch.zeros(1, 3), 1)
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        moments.covariance()
