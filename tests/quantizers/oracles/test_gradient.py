"""The rotation trick and DiVeQ against those of vector-quantize-pytorch 1.32.0."""

import warnings

import pytest
import torch
from margin import normal

from quantizers import build
from quantizers.estimators import diveq, rotation_trick

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def vqp():
    with warnings.catch_warnings():  # its dependencies warn about one another when imported
        warnings.simplefilter("ignore")
        pytest.importorskip("vector_quantize_pytorch")
        from vector_quantize_pytorch import vector_quantize_pytorch

        return vector_quantize_pytorch


@pytest.mark.parametrize("d", [2, 8, 64])
def test_the_rotation_trick_equals_rotate_to(vqp, d):
    code, upstream = (normal(1, 300, d, seed=k, dtype=torch.float64) for k in (1, 2))
    z = normal(1, 300, d, dtype=torch.float64)
    latents = [z.clone().requires_grad_(), z.clone().requires_grad_()]
    theirs, ours = vqp.rotate_to(latents[0], code), rotation_trick(latents[1], code)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-12)
    theirs.backward(upstream)
    ours.backward(upstream)
    torch.testing.assert_close(latents[1].grad, latents[0].grad, rtol=0, atol=1e-10)


def test_vq_with_rotation_has_the_gradient_of_vector_quantize(vqp):
    codes = normal(64, 8, seed=1)
    upstream = normal(1, 300, 8, seed=2)
    theirs = vqp.VectorQuantize(
        dim=8, codebook_size=64, rotation_trick=True, freeze_codebook=True
    ).train()
    theirs.codebook = codes
    ours = build("vq", latent_channels=8, codebook_size=64, estimator="rotation")
    ours.load_state_dict({"codebook": codes})
    z = normal(1, 300, 8)
    latents = [z.clone().requires_grad_(), z.clone().requires_grad_()]
    (expected,) = torch.autograd.grad(theirs(latents[0])[0], latents[0], upstream)
    (gradient,) = torch.autograd.grad(ours(latents[1].mT).quantized.mT, latents[1], upstream)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("d", [2, 8, 64])
def test_diveq_equals_directional_reparam_without_noise(vqp, d):
    upstream = normal(1, 300, d, seed=2)
    leaves = normal(1, 300, d).requires_grad_(), normal(1, 300, d, seed=1).requires_grad_()
    theirs, ours = vqp.directional_reparam(*leaves, noise_variance=0.0), diveq(*leaves)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-6)  # theirs normalise in float32
    expected, found = (torch.autograd.grad(value, leaves, upstream) for value in (theirs, ours))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
