import math

import pytest
import torch

from bench.source.report import lloyd_max_gap_db
from bench.source.sources import SOURCES, ball_moment

RATES = (0.25, 0.5, 1.0, 2.0, 4.0)


@pytest.fixture(params=[(name, d) for name in SOURCES for d in (2, 3, 8)], ids=str)
def source(request):
    name, dimension = request.param
    return SOURCES[name](dimension)


def draw(source, count: int = 1 << 16):
    return source.sample(count, torch.Generator().manual_seed(0))


def test_samples_have_mean_zero_and_unit_variance_per_dimension(source):
    x = draw(source)
    assert x.mean(dim=0).abs().max() < 0.05
    assert x.square().mean().item() == pytest.approx(1, abs=0.02)


def test_samples_have_the_moments_of_the_marginals(source):
    fourth = draw(source).double().pow(4).mean(dim=0)
    for density, moment in zip(source.marginals(), fourth, strict=True):
        places = (density.edges[1:] + density.edges[:-1]) / 2
        assert moment.item() == pytest.approx(float((density.masses * places**4).sum()), rel=0.05)


def test_shannon_falls_with_the_rate_and_is_below_every_scalar_quantizer(source):
    bounds = [source.shannon(rate) for rate in RATES]
    assert bounds == sorted(bounds, reverse=True)
    assert source.shannon(0.0) <= 1 + 1e-6
    for bits in (1.0, 2.0, 5.0, 8.0):
        assert lloyd_max_gap_db(source, bits) >= 0


def test_zador_is_above_shannon_at_high_rates(source):
    assert source.zador(6.0) > source.shannon(6.0)


def test_zador_of_one_gaussian_in_many_dimensions_approaches_shannon():
    gaps = [SOURCES["gaussian"](d).zador(1.0) / 0.25 for d in (2, 8, 64, 1024)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("dimension", "moment"), [(1, 1 / 12), (2, 1 / (4 * math.pi))])
def test_a_ball_is_an_interval_in_one_dimension_and_a_disc_in_two(dimension, moment):
    assert ball_moment(dimension) == pytest.approx(moment)


@pytest.mark.parametrize("concentration", [0.1, 1.0, 10.0, 1000.0])
def test_the_sphere_has_the_curve_of_its_test_channel(concentration):
    """In the plane the von Mises distribution, in space Fisher's, whose integrals are known."""
    k = torch.tensor(concentration, dtype=torch.float64)
    plane = torch.special.i1e(k) / torch.special.i0e(k)
    rate = k * plane - k - torch.special.i0e(k).log()
    assert SOURCES["sphere"](2).shannon(float(rate) / 2 / math.log(2)) == pytest.approx(
        float(1 - plane**2), rel=1e-6
    )
    space = 1 / torch.tanh(k) - 1 / k
    log_z = k + torch.log((1 - torch.exp(-2 * k)) / (2 * k))
    rate = k * space - log_z
    assert SOURCES["sphere"](3).shannon(float(rate) / 3 / math.log(2)) == pytest.approx(
        float(1 - space**2), rel=1e-6
    )


@pytest.mark.parametrize("bits", [12.0, 17.6, 30.0])
def test_at_high_rates_the_circle_is_a_line_of_its_length(bits):
    """Shannon's lower bound with the entropy ln 2 pi of the angle, its error in two dimensions."""
    error = (2 * math.pi) ** 2 / (2 * math.pi * math.e) * 2 ** (-2 * bits)
    assert SOURCES["sphere"](2).shannon(bits / 2) == pytest.approx(error, rel=1e-3)


def test_no_rate_leaves_the_variance_of_the_sphere():
    assert SOURCES["sphere"](8).shannon(0.0) == pytest.approx(1, rel=1e-6)


def test_the_bound_of_the_mixture_is_that_of_its_entropy():
    """The entropy from samples, by the density of the four clusters."""
    source = SOURCES["mixture"](2)
    x = draw(source).double()
    place = math.sqrt(3 / 4)
    means = place * torch.tensor([[-1, -1], [-1, 1], [1, -1], [1, 1]], dtype=torch.float64)
    squared = torch.cdist(x, means).square()
    log_p = torch.logsumexp(-2 * squared, dim=1) - math.log(4) - math.log(2 * math.pi / 4)
    entropy = -log_p.mean().item() / 2
    expected = math.exp(2 * entropy) / (2 * math.pi * math.e)
    assert source.shannon(0.0) == pytest.approx(expected, rel=0.01)


def test_one_dimension_is_refused():
    with pytest.raises(ValueError, match="dimension >= 2, got 1"):
        SOURCES["cube"](1)
