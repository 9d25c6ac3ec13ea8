import math
import time

import numpy as np
import pytest
from scipy.stats import norm

from bench.source.density import Density, gaussian, sphere_coordinate, two_gaussians, uniform
from bench.source.scalar import MANY_LEVELS, lloyd_max, panter_dite, scalar_quantizers

DENSITIES = {
    "gaussian": gaussian(),
    "uniform": uniform(),
    "circle": sphere_coordinate(2),
    "sphere of 8": sphere_coordinate(8),
    "near clusters": two_gaussians(0.87, 0.5),
    "clusters": two_gaussians(1.73, 0.5),
    "far clusters": two_gaussians(3.46, 0.5),
}


CLUSTERED = [DENSITIES[name] for name in ("clusters", "far clusters")]


@pytest.fixture(params=DENSITIES)
def density(request):
    return DENSITIES[request.param]


@pytest.mark.parametrize(
    ("levels", "error"),
    [
        (1, 1.0),
        (2, 1 - 2 / math.pi),
        (3, 0.1902),
        (4, 0.1175),
        (8, 0.03454),
        (16, 0.009497),
        (32, 0.002499),
    ],
)
def test_a_gaussian_has_the_errors_of_max_1960(levels, error):
    """His last digits, found by hand, are up to 0.25 % too low."""
    assert lloyd_max(gaussian(), levels) == pytest.approx(error, rel=3e-3)


@pytest.mark.parametrize("levels", [2, 5, 16])
def test_a_gaussian_has_the_errors_of_its_closed_integrals(levels):
    """Lloyd's iteration with the normal distribution function, without any cells."""
    codes = norm.ppf((np.arange(levels) + 0.5) / levels)
    for _ in range(2000):
        thresholds = np.concatenate([[-np.inf], (codes[1:] + codes[:-1]) / 2, [np.inf]])
        mass, moment = np.diff(norm.cdf(thresholds)), -np.diff(norm.pdf(thresholds))
        codes = moment / mass
    expected = 1 - float((moment**2 / mass).sum())
    assert lloyd_max(gaussian(), levels) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("levels", [2, 3, 7, 12])
def test_newton_ends_where_lloyds_iteration_does(density, levels):
    """Where Lloyd's, from quantiles, leaves a code between the clusters, Newton's is below it."""
    codes = np.interp((np.arange(levels) + 0.5) / levels, density.zeroth, density.edges)
    for _ in range(20 * levels**2):
        mass, moment = masses_and_moments(density, (codes[1:] + codes[:-1]) / 2)
        codes = moment / mass
    expected = density.variance - float((moment**2 / mass).sum())
    found = lloyd_max(density, levels)
    assert found <= expected * (1 + 1e-9)
    if levels % 2 == 0 or density not in CLUSTERED:
        assert found == pytest.approx(expected, rel=1e-6)


def test_no_thresholds_on_a_grid_do_better(density):
    """The dynamic programme of Bruce, 1965, finds the best of all thresholds on 801 places."""
    places = np.interp(np.linspace(0, 1, 801), density.zeroth, density.edges)
    zeroth, first = density.up_to(places)
    mass, moment = zeroth[None] - zeroth[:, None], first[None] - first[:, None]
    above = mass > 0
    saved = np.where(above, moment**2 / np.where(above, mass, 1.0), -np.inf)
    best = saved[0]
    for levels in range(2, 13):
        best = (best[:, None] + saved).max(axis=0)
        on_grid = density.variance - float(best[-1])
        assert lloyd_max(density, levels) <= on_grid * (1 + 1e-9)
        assert lloyd_max(density, levels) >= on_grid * 0.99


@pytest.mark.parametrize("levels", [1, 2, 5, 16])
def test_equal_steps_are_the_best_for_a_uniform_density(levels):
    assert lloyd_max(uniform(), levels) == pytest.approx(1 / levels**2, rel=1e-6)


def test_many_levels_approach_the_limit_of_panter_and_dite():
    limit = math.sqrt(3) * math.pi / 2
    ratios = [lloyd_max(gaussian(), levels) * levels**2 / limit for levels in (8, 64, 512)]
    assert ratios[0] < ratios[1] < ratios[2] < 1
    assert ratios[2] > 0.995
    assert panter_dite(gaussian(), 10.0) == pytest.approx(limit / 100, rel=1e-6)


def test_from_many_levels_on_the_limit_is_the_error(density):
    limit = panter_dite(density, float(MANY_LEVELS))
    assert lloyd_max(density, MANY_LEVELS) == pytest.approx(limit, rel=0.005)


def test_two_levels_find_two_clusters():
    assert lloyd_max(two_gaussians(3.0, 0.5), 2) == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize(
    "density",
    [gaussian(), uniform(), sphere_coordinate(2)],
    ids=["gaussian", "uniform", "sphere"],
)
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


def test_a_level_goes_where_none_else_can_be_paid():
    """Of 15.5 codes, 4 x 4 are too many, so one coordinate takes the fifth level."""
    expected = (lloyd_max(gaussian(), 3) + lloyd_max(gaussian(), 5)) / 2
    assert scalar_quantizers((gaussian(),) * 2, 15.5) == pytest.approx(expected, rel=1e-9)


def test_more_levels_than_can_be_counted_have_equal_errors_at_the_limit():
    wide, narrow = two_gaussians(0.0, 2.0), two_gaussians(0.0, 0.5)
    found = scalar_quantizers((wide, narrow), 2.0**40)
    assert found == pytest.approx(panter_dite(wide, 2.0**21), rel=1e-6)
    assert found == pytest.approx(panter_dite(narrow, 2.0**19), rel=1e-6)


def test_the_limit_continues_the_whole_numbers(monkeypatch):
    """Just below and just above the number of codes from which levels are not counted."""
    monkeypatch.setattr("bench.source.scalar.MANY_LEVELS", 64)
    codes = [(64 * factor) ** 2 for factor in (0.999, 1.001)]
    counted, limit = (scalar_quantizers((uniform(),) * 2, count) for count in codes)
    assert counted == pytest.approx((1 / 63**2 + 1 / 64**2) / 2, rel=1e-6)
    assert limit == pytest.approx(1 / 64.064**2, rel=1e-6)


def test_hundreds_of_levels_take_seconds():
    started = time.perf_counter()
    assert scalar_quantizers((gaussian(),) * 2, 196_560.0) < 1.4e-5
    assert time.perf_counter() - started < 60


def masses_and_moments(density: Density, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    zeroth, first = density.up_to(thresholds)
    mass = np.diff(zeroth, prepend=0.0, append=density.zeroth[-1])
    return mass, np.diff(first, prepend=0.0, append=density.first[-1])
