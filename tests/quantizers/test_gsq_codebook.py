"""Facts of GSQ's codebook: start values, the error of random codes, storage and rate."""

import pytest
import torch
import torch.nn.functional as F
from unchecked import build_unchecked

from quantizers import Quantizer, build


def make(**parameters) -> Quantizer:
    """A fresh GSQ from a fixed seed, of 3 groups of 4 channels and 16 codes unless told."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build("gsq", **{"groups": 3, "group_channels": 4, "codebook_size": 16} | parameters)


@pytest.mark.parametrize("group_channels", [2, 4, 16])
def test_codes_start_uniform_on_the_sphere(group_channels):
    codes = make(group_channels=group_channels, codebook_size=4000, shared=False).codebook.detach()
    assert codes.shape == (3, 4000, group_channels)
    torch.testing.assert_close(codes.norm(dim=-1), torch.ones(3, 4000), rtol=0, atol=1e-6)
    codes = codes.flatten(0, 1)
    torch.testing.assert_close(codes.mean(dim=0), torch.zeros(group_channels), rtol=0, atol=0.03)
    covariance = torch.eye(group_channels) / group_channels
    torch.testing.assert_close(codes.T.cov(), covariance, rtol=0, atol=0.03 / group_channels**0.5)


@pytest.mark.parametrize(
    ("options", "bound"),
    [
        ({"group_channels": 1}, 1.0),
        ({"group_channels": 1, "init": "uniform"}, 1.0),
        ({"group_channels": 4, "init": "uniform"}, 1 / 500),
    ],
    ids=str,
)
def test_codes_start_uniform_in_an_interval(options, bound):
    codes = make(codebook_size=500, **options).codebook.detach()
    assert 0.98 * bound <= codes.max() <= bound
    assert -bound <= codes.min() <= -0.98 * bound
    assert float(codes.var()) == pytest.approx(bound**2 / 3, rel=0.1)


@pytest.mark.parametrize(
    ("group_channels", "codebook_size", "error"),
    [
        (4, 1024, 0.0251),
        (8, 1024, 0.222),
        (8, 8192, 0.121),
        (16, 1024, 0.568),
        (32, 1024, 0.924),
        (64, 1024, 1.212),
    ],
)
def test_a_fresh_codebook_has_the_look_up_error_of_random_codes(
    group_channels, codebook_size, error
):
    """At a fixed V, the error of a group collapses with its number of channels: why groups help."""
    gsq = make(groups=1, group_channels=group_channels, codebook_size=codebook_size)
    z = torch.randn(10_000, group_channels, generator=torch.Generator().manual_seed(3))
    unit = F.normalize(z, dim=1)
    found = (gsq(z).quantized - unit).square().sum(dim=1).mean()
    assert float(found.detach()) == pytest.approx(error, rel=0.02)


def test_the_rate_is_the_sum_over_groups():
    gsq = make(groups=8, group_channels=2, codebook_size=2**18)
    assert gsq.latent_channels == 16
    assert gsq.codebook_sizes == (2**18,) * 8
    assert gsq.bits_per_position == 144


@pytest.mark.parametrize(("shared", "codebooks"), [(True, 1), (False, 3)])
def test_a_shared_codebook_is_stored_once(shared, codebooks):
    gsq = make(shared=shared)
    assert sum(parameter.numel() for parameter in gsq.parameters()) == codebooks * 16 * 4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"groups": 0}, "got 0, 4 and 16"),
        ({"group_channels": 0}, "got 3, 0 and 16"),
        ({"codebook_size": 1}, "got 3, 4 and 1"),
        ({"commitment_weight": -1.0}, "commitment_weight must be .* got -1.0"),
        ({"emit": "both"}, "expects emit 'unit' or 'raw' .* got 'both' and None"),
        ({"init": "normal"}, "init 'sphere', 'uniform' or None, got 'unit' and 'normal'"),
        ({"estimator": "rotate"}, "rotation, diveq; got 'rotate'"),
        ({"group_channels": 1, "estimator": "rotation"}, "at least 2 channels, got 1"),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, message):
    parameters = {"groups": 3, "group_channels": 4, "codebook_size": 16} | wrong
    with pytest.raises(ValueError, match=message):
        build_unchecked("gsq", **parameters)
