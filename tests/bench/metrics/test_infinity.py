import numpy as np
import pytest
import torch

from bench.metrics import infinity
from bench.metrics.infinity import frechet_distance_at_infinity
from bench.statistics import frechet_distance


def pair(count, dimension, seed=0):
    """Reconstructions with independent noise: each feature adds (sqrt(1.25) - 1)^2."""
    generator = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(2, count, dimension, generator=generator, dtype=torch.float64)
    return x, x + 0.5 * noise


TRUTH = (1.25**0.5 - 1) ** 2


def test_the_estimate_is_nearer_to_the_truth_than_the_distance_itself():
    errors, biases = [], []
    for seed in range(8):
        reference, reconstruction = pair(400, 50, seed)
        errors.append(frechet_distance_at_infinity(reference, reconstruction) - 50 * TRUTH)
        whole = frechet_distance(reference.numpy(), reconstruction.numpy())
        biases.append(whole - 50 * TRUTH)
    assert np.mean(biases) > 0.1  # a finite set is biased upward
    assert abs(np.mean(errors)) < 0.2 * np.mean(biases)


def test_a_distance_that_is_linear_in_1_over_n_gives_its_value_at_0(monkeypatch):
    sizes = []

    def linear(first, second):
        assert first.count == second.count
        sizes.append(first.count)
        return 3.0 + 70.0 / first.count

    monkeypatch.setattr(infinity, "moments_frechet_distance", linear)
    assert frechet_distance_at_infinity(*pair(200, 5)) == pytest.approx(3.0, rel=1e-9)
    assert (sizes[0], sizes[-1], len(sizes)) == (50, 200, 15)
    assert np.ptp(np.diff(sizes)) <= 1  # equally spaced


def test_identity_scores_zero():
    x, _ = pair(200, 8)
    assert frechet_distance_at_infinity(x, x) == pytest.approx(0, abs=1e-9)


def test_the_seed_alone_decides_the_subsets():
    before = torch.get_rng_state()
    first = frechet_distance_at_infinity(*pair(100, 8))
    assert frechet_distance_at_infinity(*pair(100, 8)) == first
    assert frechet_distance_at_infinity(*pair(100, 8), seed=1) != first
    assert torch.equal(torch.get_rng_state(), before)


def test_pairs_stay_together():
    """With the rows of one side in another order the subsets would differ, as those of this do."""
    reference, reconstruction = pair(100, 8)
    paired = frechet_distance_at_infinity(reference, reconstruction)
    assert frechet_distance_at_infinity(reference, reconstruction.flip(0)) != pytest.approx(paired)


def test_a_set_whose_smallest_subset_is_below_the_dimension_is_refused():
    with pytest.raises(ValueError, match=r"at least 32 images for 8 features.*got 31"):
        frechet_distance_at_infinity(*pair(31, 8))
    frechet_distance_at_infinity(*pair(32, 8))


def test_unequal_sets_are_refused(as_users_run):
    with pytest.raises(ValueError, match="one shape"):
        frechet_distance_at_infinity(pair(40, 8)[0], pair(41, 8)[0])


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_nan_and_infinity_are_refused(value, side):
    features = pair(40, 8)
    features[side][4, 1] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        frechet_distance_at_infinity(*features)
