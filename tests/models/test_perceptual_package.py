"""Perceptual distances against the package `lpips` itself, with the same weights copied."""

import warnings

import lpips
import pytest
import torch

from models import PerceptualDistance, lpips_distances


@pytest.fixture(scope="module", params=["alex", pytest.param("vgg", marks=pytest.mark.slow)])
def both(request):
    """Ours, and the package's network with heads and trunk of its own until ours are copied."""
    network = lpips_distances._build(request.param, trunk=None)
    ours = PerceptualDistance(name=request.param, network=network, min_side=network.min_side)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package passes torchvision a deprecated argument
        torch.manual_seed(1)
        theirs = lpips.LPIPS(net=request.param, pretrained=False, pnet_rand=True, verbose=False)
    theirs.load_state_dict(ours.network.state_dict())
    return ours, theirs.eval()


def pairs():
    """Images in [-1, 1] at odd sizes."""
    generator = torch.Generator().manual_seed(0)

    def random(count, height, width):
        return torch.rand(count, 3, height, width, generator=generator) * 2 - 1

    flat_channel = random(2, 33, 47)
    flat_channel[:, 1] = 0.3
    x = random(1, 63, 31)
    return {
        "random": (random(3, 33, 47), random(3, 33, 47)),
        "constant": (torch.full((2, 3, 35, 37), -0.7), torch.full((2, 3, 35, 37), 0.2)),
        "identical": (x, x.clone()),
        "black and white": (-torch.ones(1, 3, 41, 33), torch.ones(1, 3, 41, 33)),
        "only extremes": (random(2, 37, 35).sign(), random(2, 37, 35).sign()),
        "one channel constant": (flat_channel, flat_channel.flip(0)),
    }


@pytest.mark.parametrize("kind", pairs())
def test_distances_equal_those_of_the_package(both, kind):
    ours, theirs = both
    x, y = pairs()[kind]
    with torch.no_grad():
        measured, expected = ours(x, y), theirs(x, y).flatten()
    assert measured.shape == (len(x),)
    torch.testing.assert_close(measured, expected, rtol=0, atol=1e-5)
    assert (measured == 0).all() == (kind == "identical")
