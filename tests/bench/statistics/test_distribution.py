import time

import jaxtyping
import numpy as np
import pytest
import scipy.linalg
import torch

from bench.statistics import (
    GROUPS,
    frechet_distance,
    group_of,
    kernel_distance,
    leave_group_out_frechet,
    leave_group_out_kernel,
    leave_group_out_mean,
)


def features(count, dimension, *, seed=0, damage=0.1):
    """Originals, and reconstructions that are close to them."""
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(dimension, dimension)) * np.exp(
        -10 * np.arange(dimension) / dimension
    )
    first = np.abs(generator.normal(size=(count, dimension)) @ mixing.T)
    return first, 0.98 * first + damage * generator.normal(size=first.shape)


def test_frechet_distance_equals_the_formula_with_a_matrix_root():
    first, second = features(300, 64)
    means = [x.mean(axis=0) for x in (first, second)]
    covariances = [np.cov(x, rowvar=False) for x in (first, second)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = np.square(means[0] - means[1]).sum() + np.trace(sum(covariances) - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)


def test_features_that_are_always_zero_change_nothing_also_with_fewer_images_than_features():
    first, second = features(50, 30)
    padded = [np.pad(x, ((0, 0), (0, 70))) for x in (first, second)]
    assert frechet_distance(*padded) == pytest.approx(frechet_distance(first, second), rel=1e-10)


def test_frechet_distance_between_known_gaussians():
    """Equal shapes, scaled and shifted: the covariances commute, so the trace is in closed form."""
    first, _ = features(100, 5)
    second = 3 * first + 1
    deviations = first.std(axis=0, ddof=1)
    shift = second.mean(axis=0) - first.mean(axis=0)
    expected = shift @ shift + 4 * (deviations**2).sum()
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)


def test_equal_sets_have_distance_zero():
    first, _ = features(50, 80)
    assert frechet_distance(first, first[::-1]) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(first, first) >= 0
    assert kernel_distance(first, first) == pytest.approx(0, abs=1e-12)  # of kernels of 80


def test_kernel_distance_equals_the_sum_over_pairs_of_images():
    first, second = features(7, 3)

    def kernel(x, y):
        return (x @ y / 3 + 1) ** 3

    pairs = [(i, j) for i in range(7) for j in range(7) if i != j]
    total = sum(
        kernel(first[i], first[j]) + kernel(second[i], second[j]) - 2 * kernel(first[i], second[j])
        for i, j in pairs
    )
    assert kernel_distance(first, second) == pytest.approx(total / 42)


def test_kernel_distance_does_not_depend_on_how_rows_are_cut(monkeypatch):
    first, second = features(50, 4)
    whole = leave_group_out_kernel(first, second)
    monkeypatch.setattr("bench.statistics.distribution._ROWS", 7)
    assert leave_group_out_kernel(first, second) == pytest.approx(whole, rel=1e-10)


def test_kernel_distance_of_paired_sets_is_unbiased():
    """With x standard normal in one dimension and y = x + 1 the truth follows from moments."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(1000):
        first = generator.normal(size=(20, 1))
        found.append(kernel_distance(first, first + 1))
    # E (xx' + 1)^3 = 1 + 3 E[x]^2 + 3 E[x^2]^2 + E[x^3]^2 with moments 0, 1, 0 and 1, 2, 4
    expected = (1 + 3) + (1 + 3 + 12 + 16) - 2 * (1 + 0 + 3 * 2 + 0)
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - expected) < 3 * error


def test_the_group_of_an_image_depends_on_its_index_alone():
    assert group_of(983)[:100].tolist() == group_of(100).tolist()
    assert sorted(set(group_of(983))) == list(range(GROUPS))
    assert np.ptp(np.bincount(group_of(983))) == 1


@pytest.mark.parametrize(
    ("without", "distance"),
    [
        (leave_group_out_frechet, frechet_distance),
        (leave_group_out_kernel, kernel_distance),
    ],
)
def test_leaving_a_group_out_equals_the_distance_of_the_rest(without, distance):
    first, second = features(63, 5)
    found = without(first, second)
    assert len(found) == GROUPS
    for group in (0, 7, 19):
        kept = group_of(63) != group
        assert found[group] == pytest.approx(distance(first[kept], second[kept]), rel=1e-9)


def test_leaving_a_group_out_of_a_mean():
    values = np.arange(45.0)
    kept = group_of(45) != 3
    assert leave_group_out_mean(values)[3] == pytest.approx(values[kept].mean())


def test_few_images_are_groups_of_one():
    first, second = features(4, 3)
    assert len(leave_group_out_frechet(first, second)) == 4
    with pytest.raises(ValueError, match="at least 3 images, got 2"):
        leave_group_out_mean(np.zeros(2))


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_features_in_float32_are_compared_in_float64(distance, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    first, second = (x.astype(np.float32) for x in features(60, 8, damage=1e-4))
    expected = distance(first.astype(np.float64), second.astype(np.float64))
    assert distance(first, second) == pytest.approx(expected, rel=1e-12)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"got \(5, 3\) and \(5, 4\)"):
        frechet_distance(np.zeros((5, 3)), np.zeros((5, 4)))
    with pytest.raises(ValueError, match="at least 2 rows"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="one shape"):
        kernel_distance(np.zeros((4, 3)), np.zeros((5, 3)))


def of_torch_fidelity(first, second):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    statistics = [fid_features_to_statistics(torch.from_numpy(x)) for x in (first, second)]
    return float(fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"])


@pytest.mark.slow
def test_at_the_size_of_inception_it_equals_torch_fidelity_in_a_fifth_of_the_time():
    """Each the faster of two, in turns, since other programs may run.

    The damage is large, as torch-fidelity's roots of singular matrices lose digits beside traces.
    """
    first, second = features(1000, 2048, damage=5.0)
    times: dict[str, list[float]] = {"own": [], "other": []}
    values: dict[str, float] = {}
    for _ in range(2):
        for name, distance in {"own": frechet_distance, "other": of_torch_fidelity}.items():
            started = time.perf_counter()
            values[name] = distance(first, second)
            times[name].append(time.perf_counter() - started)
    assert values["own"] == pytest.approx(values["other"], rel=1e-6)
    assert 5 * min(times["own"]) < min(times["other"])
