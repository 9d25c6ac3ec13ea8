"""The look-up in one codebook: nearest codes, the losses of VQ and the named gradient."""

import pytest
import torch
from torch import Tensor

from quantizers import QuantizerOutput
from quantizers.estimators import estimate
from quantizers.parts.look_up import nearest_code


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def look_up(z: Tensor, codebook: Tensor, estimator: str = "straight_through") -> QuantizerOutput:
    return nearest_code(z, codebook, commitment_weight=0.4, estimator=estimator)


def test_every_latent_becomes_its_nearest_code():
    z, codebook = normal(4, 3, 5, 2, seed=0), normal(11, 3, seed=1)
    output = look_up(z, codebook)
    best = torch.cdist(z.movedim(1, -1).double(), codebook.double()).argmin(dim=-1)
    assert torch.equal(output.indices, best[:, None])
    assert torch.equal(output.quantized, codebook[best].movedim(-1, 1))


@pytest.mark.parametrize("estimator", ["straight_through", "rotation", "diveq"])
def test_latents_and_codes_have_the_gradients_of_the_estimator(estimator):
    z, codebook = normal(60, 3, seed=0).requires_grad_(), normal(11, 3, seed=1).requires_grad_()
    output, upstream = look_up(z, codebook, estimator), normal(60, 3, seed=2)
    again = estimate(estimator, z, codebook[output.indices.squeeze(1)])
    found, expected = (
        torch.autograd.grad(quantized, (z, codebook), upstream, materialize_grads=True)
        for quantized in (output.quantized, again)
    )
    torch.testing.assert_close(found, expected)


def test_the_losses_are_those_of_vq():
    z, codebook = normal(60, 3, seed=0), normal(11, 3, seed=1)
    output = look_up(z, codebook)
    error = (output.quantized - z).square().mean()
    assert set(output.losses) == {"codebook", "commitment"}
    torch.testing.assert_close(output.losses["codebook"], error)
    torch.testing.assert_close(output.losses["commitment"], 0.4 * error)
