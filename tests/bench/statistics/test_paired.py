import math

import numpy as np
import pytest
from scipy import stats

from bench.statistics import (
    GROUPS,
    frechet_distance,
    group_of,
    holm,
    kernel_distance,
    leave_group_out_frechet,
    leave_group_out_kernel,
    leave_group_out_mean,
    noise_floor,
    paired_difference,
)

COVERAGE_ERROR = 3 * math.sqrt(0.95 * 0.05)  # over the root of the repetitions


def of_images(values):
    """The comparison of (seeds, images) differences of a metric that is a mean."""
    left_out = np.stack([leave_group_out_mean(row) for row in values])
    return paired_difference(values.mean(axis=1), left_out, images=values.shape[1])


def crossed(generator, seeds, images, *, by_seed, by_image, residual):
    """Differences with an effect of the seed, one of the image, and a rest."""
    return (
        by_seed * generator.normal(size=(seeds, 1))
        + by_image * generator.normal(size=(1, images))
        + residual * generator.normal(size=(seeds, images))
    )


def test_without_an_effect_of_images_it_is_the_t_interval_over_seeds():
    means = np.array([1.0, 1.3, 0.8, 1.2])
    found = of_images(np.repeat(means[:, None], 60, axis=1))
    expected = stats.ttest_1samp(means, 0)
    low, high = expected.confidence_interval(0.95)
    assert found.value == pytest.approx(means.mean())
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.seeds, found.images) == (4, 60)


def test_without_an_effect_of_seeds_it_is_the_t_interval_over_groups_of_images():
    values = np.random.default_rng(0).normal(size=60)
    found = of_images(np.repeat(values[None], 3, axis=0))
    means = np.array([values[group_of(60) == group].mean() for group in range(20)])
    low, high = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def mean_squares(values):
    """Of three seeds, of 20 images, each a group, and of the rest."""
    by_seed, by_image = values.mean(axis=1), values.mean(axis=0)
    rest = values - by_seed[:, None] - by_image + values.mean()
    return 20 * by_seed.var(ddof=1), 3 * by_image.var(ddof=1), (rest**2).sum() / 38


def test_the_error_is_that_of_crossed_effects():
    """The residual is in both mean squares, and counts once."""
    generator = np.random.default_rng(0)
    values = crossed(generator, 3, 20, by_seed=4, by_image=4, residual=2)
    squares = np.array(mean_squares(values))
    total = squares @ [1, 1, -1]
    freedom = total**2 / (squares**2 / [2, 19, 38]).sum()
    assert total > squares[:2].max()
    found = of_images(values)
    expected = stats.t.ppf(0.975, freedom) * np.sqrt(total / 60)
    assert (found.high - found.low) / 2 == pytest.approx(expected)


def test_the_error_is_never_below_that_of_seeds_or_images_alone_nor_are_the_degrees_of_freedom():
    """Without any effect the residual may exceed what it is taken from."""
    values = crossed(np.random.default_rng(23), 3, 20, by_seed=0, by_image=0, residual=1)
    squares = np.array(mean_squares(values))
    largest = squares[:2].max()
    assert squares @ [1, 1, -1] < largest
    assert largest**2 / (squares**2 / [2, 19, 38]).sum() < 2
    found = of_images(values)
    expected = stats.t.ppf(0.975, 2) * np.sqrt(largest / 60)
    assert (found.high - found.low) / 2 == pytest.approx(expected)


def test_the_estimate_of_a_mean_is_the_mean_also_for_groups_of_unequal_size():
    values = np.random.default_rng(0).normal(size=(3, 47))
    assert of_images(values).value == pytest.approx(values.mean())


def test_swapping_the_methods_turns_the_interval_round():
    values = np.random.default_rng(0).normal(size=(3, 40)) + 0.2
    one, other = of_images(values), of_images(-values)
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))
    assert one.p == pytest.approx(other.p)


def test_a_single_seed_has_no_interval():
    found = of_images(np.ones((1, 40)))
    assert found.value == pytest.approx(1)
    assert math.isnan(found.low)
    assert math.isnan(found.p)


def test_equal_methods_differ_by_zero_with_p_one():
    found = of_images(np.zeros((3, 40)))
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)
    always = of_images(np.ones((3, 40)))
    assert (always.value, always.low, always.high) == pytest.approx((1, 1, 1))
    assert always.p == 0


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="have 20 groups"):
        paired_difference(np.zeros(3), np.zeros((3, 19)), images=60)


def test_holm_equals_the_steps_written_out():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.8, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_test_without_p_value_still_counts():
    adjusted = holm([math.nan, 0.01])
    assert math.isnan(adjusted[0])
    assert adjusted[1] == pytest.approx(0.02)


def test_noise_floor_from_known_values():
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    deviation = math.sqrt(2.5)
    assert noise_floor(values) == pytest.approx(2.776445 * deviation * math.sqrt(2), rel=1e-6)
    assert noise_floor(values, seeds=5) == pytest.approx(noise_floor(values) / math.sqrt(5))
    with pytest.raises(ValueError, match="at least 2 seeds"):
        noise_floor([1.0])


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(
    "effects",
    [
        {"by_seed": 1, "by_image": 0, "residual": 1},
        {"by_seed": 1, "by_image": 10, "residual": 10},
        {"by_seed": 1, "by_image": 14, "residual": 1},
        {"by_seed": 0, "by_image": 10, "residual": 10},
    ],
)
def test_intervals_of_means_cover_the_truth_95_times_in_100(seeds, effects):
    generator = np.random.default_rng(seeds)
    covered = []
    for _ in range(2000):
        found = of_images(crossed(generator, seeds, 200, **effects))
        covered.append(found.low <= 0 <= found.high)
    # up to 2 % more: with three seeds the degrees of freedom are themselves estimated
    assert -COVERAGE_ERROR / 2000**0.5 < np.mean(covered) - 0.95 < 0.02


@pytest.mark.slow
def test_an_interval_over_seeds_alone_covers_less_where_images_weigh_as_much():
    """Why the interval of the tables knows both: the figures stand in the module's docstring."""
    generator = np.random.default_rng(0)
    covered = {3: [], 5: []}
    for seeds, hits in covered.items():
        for _ in range(2000):
            means = crossed(generator, seeds, 200, by_seed=1, by_image=14, residual=1).mean(axis=1)
            hits.append(stats.ttest_1samp(means, 0).pvalue >= 0.05)
    assert np.mean(covered[3]) == pytest.approx(0.84, abs=0.03)
    assert np.mean(covered[5]) == pytest.approx(0.68, abs=0.03)


@pytest.mark.slow
def test_intervals_of_frechet_differences_cover_the_truth_and_correct_the_bias():
    """Two methods that add noise of known size, which differs between seeds."""
    generator = np.random.default_rng(0)
    dimension, images, seeds = 8, 300, 3
    scales = np.exp(-np.arange(dimension) / 4)

    def truth(noise):
        return ((np.sqrt(scales**2 + noise**2) - scales) ** 2).sum()

    def effect(seed_noise):
        return 0.5 * np.exp(0.05 * seed_noise), 0.4 * np.exp(0.05 * seed_noise)

    draws = np.random.default_rng(1).normal(size=200_000)
    expected = np.mean([truth(a) - truth(b) for a, b in zip(*effect(draws[:2000]), strict=True)])
    covered, estimates, plain = [], [], []
    for _ in range(400):
        first = generator.normal(size=(images, dimension)) * scales
        whole, left_out = [], []
        for _ in range(seeds):
            noises = effect(generator.normal())
            second = [first + n * generator.normal(size=first.shape) for n in noises]
            whole.append([frechet_distance(first, one) for one in second])
            left_out.append([leave_group_out_frechet(first, one) for one in second])
        values, parts = np.array(whole), np.array(left_out)
        found = paired_difference(
            values[:, 0] - values[:, 1], parts[:, 0] - parts[:, 1], images=images
        )
        covered.append(found.low <= expected <= found.high)
        estimates.append(found.value)
        plain.append((values[:, 0] - values[:, 1]).mean())
    assert abs(np.mean(covered) - 0.95) < COVERAGE_ERROR / 400**0.5
    error = np.std(estimates) / 400**0.5
    assert abs(np.mean(estimates) - expected) < 4 * error
    assert abs(np.mean(plain) - expected) > 2 * abs(np.mean(estimates) - expected)


@pytest.mark.slow
def test_intervals_of_kernel_differences_cover_the_truth_at_least_as_often():
    """As above; between normal sets with covariances S and T the distance is 3 |S - T|^2 / d."""
    generator = np.random.default_rng(0)
    dimension, images, seeds = 8, 300, 3
    scales = np.exp(-np.arange(dimension) / 4)
    covered, estimates = [], []
    mean_effect = math.exp(4**2 * 0.05**2 / 2)  # of the fourth power of a log-normal
    expected = 3 / dimension * (0.5**4 - 0.4**4) * mean_effect
    for _ in range(200):
        first = generator.normal(size=(images, dimension)) * scales
        whole, left_out = np.empty(seeds), np.empty((seeds, GROUPS))
        for seed, effect in enumerate(np.exp(0.05 * generator.normal(size=seeds))):
            more, less = (
                first + noise * effect * generator.normal(size=first.shape) for noise in (0.5, 0.4)
            )
            whole[seed] = kernel_distance(first, more) - kernel_distance(first, less)
            left_out[seed] = leave_group_out_kernel(first, more)
            left_out[seed] -= leave_group_out_kernel(first, less)
        found = paired_difference(whole, left_out, images=images)
        covered.append(found.low <= expected <= found.high)
        estimates.append(found.value)
    assert np.mean(covered) - 0.95 > -COVERAGE_ERROR / 200**0.5
    assert abs(np.mean(estimates) - expected) < 4 * np.std(estimates) / 200**0.5


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_noise_floor_holds_95_differences_of_100(seeds):
    generator = np.random.default_rng(0)
    inside = []
    for _ in range(5000):
        floor = noise_floor(list(generator.normal(size=5)), seeds=seeds)
        fresh = generator.normal(size=(2, seeds)).mean(axis=1)
        inside.append(abs(fresh[0] - fresh[1]) < floor)
    assert abs(np.mean(inside) - 0.95) < COVERAGE_ERROR / 5000**0.5
