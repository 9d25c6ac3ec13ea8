"""Laws of every method with the option `estimator`: it only changes the output's gradient."""

import copy
import inspect
from typing import get_args

import pytest
import torch
from torch import Tensor
from unchecked import build_unchecked

from quantizers import Quantizer, available, build, lookup
from quantizers.estimators import Estimator

NAMES = [name for name in available() if "estimator" in inspect.signature(lookup(name)).parameters]
OTHERS = [name for name in get_args(Estimator) if name != "straight_through"]


@pytest.fixture
def pair(name, estimator, examples) -> tuple[Quantizer, Quantizer]:
    """The example that has this estimator, and the same quantizer with the default."""
    (parameters,) = [one for one in examples[name] if one.get("estimator") == estimator]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        quantizer = build(name, **parameters)
        default = build(name, **parameters | {"estimator": "straight_through"})
        with torch.no_grad():
            for codebook in quantizer.parameters():
                codebook += 0.5 * torch.randn_like(codebook)
    default.load_state_dict(copy.deepcopy(quantizer.state_dict()))
    return quantizer, default


def gradients(quantizer: Quantizer, z: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Of the output, at the latent and at all parameters."""
    z = z.clone().requires_grad_()
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(2))
    at_latent, *at_parameters = torch.autograd.grad(
        quantizer(z).quantized, [z, *quantizer.parameters()], upstream, materialize_grads=True
    )
    return at_latent, at_parameters


@pytest.mark.parametrize("name", NAMES)
def test_straight_through_is_the_default(name):
    assert inspect.signature(lookup(name)).parameters["estimator"].default == "straight_through"


@pytest.mark.parametrize("estimator", OTHERS)
@pytest.mark.parametrize("name", NAMES)
def test_output_and_losses_are_those_of_straight_through(pair, sample):
    z = sample(pair[0], (6, 3, 5), seed=1)
    output, expected = (quantizer(z) for quantizer in pair)
    assert torch.equal(output.indices, expected.indices)
    assert torch.equal(output.quantized, expected.quantized)
    assert output.losses == expected.losses


@pytest.mark.parametrize("estimator", OTHERS)
@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_at_the_latent_is_not_that_of_straight_through(pair, sample):
    z = sample(pair[0], (6, 3, 5), seed=1)
    (at_latent, _), (expected, _) = (gradients(quantizer, z) for quantizer in pair)
    assert at_latent.isfinite().all()
    assert (at_latent - expected).abs().max() > 0.1 * expected.abs().max()


@pytest.mark.parametrize("estimator", OTHERS)
@pytest.mark.parametrize("name", NAMES)
def test_of_the_estimators_diveq_alone_trains_the_codes(pair, estimator, sample):
    z = sample(pair[0], (6, 3, 5), seed=1)
    for gradient in gradients(pair[0], z)[1]:
        assert bool(gradient.any()) == (estimator == "diveq")


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_estimator_is_refused(name, examples):
    with pytest.raises(ValueError, match="rotation, diveq; got 'rotate'"):
        build_unchecked(name, **examples[name][0] | {"estimator": "rotate"})


@pytest.mark.parametrize("estimator", OTHERS)
@pytest.mark.parametrize("name", NAMES)
def test_an_estimator_that_needs_a_plane_is_refused_on_a_line(name, estimator, examples):
    narrow = "group_channels" if "group_channels" in examples[name][0] else "latent_channels"
    parameters = examples[name][0] | {narrow: 1, "estimator": estimator}
    with pytest.raises(ValueError, match=r"at least 2|>= 2"):
        build(name, **parameters)
