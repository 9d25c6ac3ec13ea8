import math

import numpy as np
import pytest
import torch

from models import discriminator_loss, generator_loss

KINDS = ["non_saturating", "hinge", "vanilla"]
SHAPES = [(4, 1, 3, 5), (4, 7), (4,)]


def logits(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3
    return values.requires_grad_()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(x))


def per_image(x: np.ndarray) -> np.ndarray:
    """The mean logit of each image, repeated over its positions."""
    mean = x.reshape(len(x), -1).mean(axis=1)
    return np.broadcast_to(mean.reshape(-1, *[1] * (x.ndim - 1)), x.shape)


# Value and gradient of each loss in float64. For `fake` the discriminator sees the mirror image.
GENERATOR = {
    "non_saturating": lambda x: (softplus(-per_image(x)).mean(), -sigmoid(-per_image(x)) / x.size),
    "hinge": lambda x: (-x.mean(), np.full_like(x, -1 / x.size)),
    "vanilla": lambda x: (softplus(-x).mean(), -sigmoid(-x) / x.size),
}
REAL_HALF = GENERATOR | {
    "hinge": lambda x: (np.maximum(1 - x, 0).mean(), np.where(x < 1, -1 / x.size, 0))
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_generator_losses_match_a_float64_reference(kind, shape):
    fake = logits(shape, 0)
    loss = generator_loss(fake, kind=kind)
    loss.backward()
    value, gradient = GENERATOR[kind](fake.detach().double().numpy())
    assert loss.item() == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(fake.grad.numpy(), gradient, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_discriminator_losses_match_a_float64_reference(kind, shape):
    real, fake = logits(shape, 0), logits(shape, 1)
    loss = discriminator_loss(real, fake, kind=kind)
    loss.backward()
    real_value, real_gradient = REAL_HALF[kind](real.detach().double().numpy())
    fake_value, fake_gradient = REAL_HALF[kind](-fake.detach().double().numpy())
    assert loss.item() == pytest.approx((real_value + fake_value) / 2, rel=1e-5)
    np.testing.assert_allclose(real.grad.numpy(), real_gradient / 2, rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(fake.grad.numpy(), -fake_gradient / 2, rtol=1e-4, atol=1e-8)


def test_an_undecided_discriminator_costs_what_the_closed_forms_say():
    zero = torch.zeros(2, 1, 4, 4)
    for kind in ("vanilla", "non_saturating"):
        assert discriminator_loss(zero, zero, kind=kind).item() == pytest.approx(math.log(2))
        assert generator_loss(zero, kind=kind).item() == pytest.approx(math.log(2))
    assert discriminator_loss(zero, zero, kind="hinge") == 1
    assert generator_loss(zero, kind="hinge") == 0


def test_hinge_is_zero_beyond_the_margin():
    one = torch.ones(2, 1, 4, 4)
    assert discriminator_loss(one, -one, kind="hinge") == 0
    assert discriminator_loss(3 * one, -3 * one, kind="hinge") == 0


def test_non_saturating_judges_the_image_and_vanilla_the_patch():
    split = torch.tensor([[[[8.0, -8.0]]]])  # one image, mean logit 0
    assert generator_loss(split, kind="non_saturating").item() == pytest.approx(math.log(2))
    assert generator_loss(split, kind="vanilla").item() == pytest.approx(4.0, abs=1e-3)


@pytest.mark.parametrize("generator", KINDS)
@pytest.mark.parametrize("discriminator", KINDS)
def test_any_generator_loss_meets_any_discriminator_loss(generator, discriminator):
    """Whatever the pair, each side lowers its own loss by moving the logits its way."""
    real, fake = logits((4, 1, 2, 2), 0), logits((4, 1, 2, 2), 1)
    generator_loss(fake, kind=generator).backward()
    assert (fake.grad <= 0).all()
    assert fake.grad.sum() < 0
    fake.grad = None
    discriminator_loss(real, fake, kind=discriminator).backward()
    assert (real.grad <= 0).all()
    assert (fake.grad >= 0).all()
    assert fake.grad.sum() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_large_logits_stay_finite(kind):
    large = torch.full((2, 1, 2, 2), 1e4)
    assert generator_loss(-large, kind=kind).item() == pytest.approx(1e4)
    assert discriminator_loss(-large, large, kind=kind).item() == pytest.approx(1e4, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_logits_are_averaged_in_float32(kind):
    fake = torch.full((1, 1, 1, 3), 1.0, dtype=torch.bfloat16)
    fake[..., 0] = 1.0078125  # the next bfloat16
    loss = generator_loss(fake, kind=kind)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(generator_loss(fake.double(), kind=kind).item(), rel=1e-6)


def test_real_and_fake_batches_may_differ_in_size():
    loss = discriminator_loss(torch.zeros(2, 3), torch.zeros(5, 3), kind="vanilla")
    assert loss.item() == pytest.approx(math.log(2))


def test_an_unknown_kind_lists_the_known():
    with pytest.raises(ValueError, match="generator loss 'hing'; known: hinge, non_saturating"):
        generator_loss(torch.zeros(1), kind="hing")
    with pytest.raises(ValueError, match="discriminator loss 'wgan'"):
        discriminator_loss(torch.zeros(1), torch.zeros(1), kind="wgan")
