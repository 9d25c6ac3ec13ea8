import math

import pytest

from bench.source.scalar import (
    gaussian,
    lloyd_max,
    scalar_quantizers,
    sphere_coordinate,
    two_gaussians,
    uniform,
)


@pytest.mark.parametrize(
    ("levels", "error"), [(1, 1.0), (2, 1 - 2 / math.pi), (3, 0.1902), (4, 0.1175), (8, 0.03455)]
)
def test_a_gaussian_has_the_errors_of_max_1960(levels, error):
    assert lloyd_max(gaussian(), levels) == pytest.approx(error, rel=1e-3)


@pytest.mark.parametrize("levels", [1, 2, 5, 16])
def test_equal_steps_are_the_best_for_a_uniform_density(levels):
    assert lloyd_max(uniform(), levels) == pytest.approx(1 / levels**2, rel=1e-6)


def test_many_levels_approach_the_limit_of_panter_and_dite():
    limit = math.sqrt(3) * math.pi / 2
    ratios = [lloyd_max(gaussian(), levels) * levels**2 / limit for levels in (8, 32, 64)]
    assert ratios[0] < ratios[1] < ratios[2] < 1
    assert ratios[2] > 0.96


def test_two_levels_find_two_clusters():
    assert lloyd_max(two_gaussians(3.0, 0.5), 2) == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize("density", [gaussian(), uniform(), sphere_coordinate(2)], ids=str)
def test_densities_have_unit_variance_and_their_entropy_is_below_a_gaussians(density):
    assert density.variance == pytest.approx(1, rel=1e-6)
    assert density.entropy() <= 0.5 * math.log(2 * math.pi * math.e) + 1e-6


def test_the_entropy_of_a_gaussian_has_its_closed_form():
    expected = 0.5 * math.log(2 * math.pi * math.e)
    assert gaussian().entropy() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("dimension", "codes", "levels"),
    [(2, 256.0, (16, 16)), (2, 240.0, (15, 16)), (8, 256.0, (2,) * 8), (3, 4.0, (2, 2, 1))],
)
def test_levels_are_shared_out_so_that_their_product_keeps_to_the_budget(dimension, codes, levels):
    expected = sum(lloyd_max(gaussian(), count) for count in levels) / dimension
    assert scalar_quantizers((gaussian(),) * dimension, codes) == pytest.approx(expected, rel=1e-9)


def test_levels_go_first_where_they_save_most():
    wide, narrow = two_gaussians(3.0, 0.5), two_gaussians(0.0, 0.5)
    expected = (lloyd_max(wide, 2) + narrow.variance) / 2
    assert scalar_quantizers((narrow, wide), 2.0) == pytest.approx(expected, rel=1e-9)
