"""Adversarial losses of generator and discriminator, for logits of any shape.

Wang et al. 2024, https://arxiv.org/abs/2412.02632, equations 17-24. As in the paper, any generator
loss works with any discriminator loss; its best pair is `non_saturating` for the generator and
`hinge` for the discriminator:

- `vanilla`: binary cross-entropy per logit, Goodfellow et al. 2014,
  https://arxiv.org/abs/1406.2661, with the non-saturating generator of its section 3.
- `non_saturating`: the same on the mean logit of each image, so an image is judged as a whole.
- `hinge`: Lim and Ye 2017, https://arxiv.org/abs/1705.02894.

Deviation: equations 21-24 print exp(+|l|) inside the logarithm; the stable form of the
cross-entropy, softplus, has exp(-|l|).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quantizers.registry import Registry

GENERATOR_LOSSES: Registry[Tensor] = Registry("generator loss")
DISCRIMINATOR_LOSSES: Registry[Tensor] = Registry("discriminator loss")


def generator_loss(fake_logits: Float[Tensor, "b ..."], *, kind: str) -> Float[Tensor, ""]:
    """Small when the discriminator takes reconstructions for real images.

    Args:
        fake_logits: logits of the reconstructions, with gradient to the generator.
        kind: `non_saturating`, `hinge` or `vanilla`.

    Raises:
        ValueError: unknown kind.
    """
    return GENERATOR_LOSSES.lookup(kind)(_at_least_float32(fake_logits))


def discriminator_loss(
    real_logits: Float[Tensor, "r ..."], fake_logits: Float[Tensor, "f ..."], *, kind: str
) -> Float[Tensor, ""]:
    """Small when the discriminator tells real images from reconstructions.

    Args:
        real_logits: logits of the real images.
        fake_logits: logits of the reconstructions, detached from the generator.
        kind: `non_saturating`, `hinge` or `vanilla`.

    Raises:
        ValueError: unknown kind.
    """
    real, fake = _at_least_float32(real_logits), _at_least_float32(fake_logits)
    return DISCRIMINATOR_LOSSES.lookup(kind)(real, fake)


@GENERATOR_LOSSES.register("non_saturating")
def _non_saturating_generator(fake: Tensor) -> Tensor:
    return F.softplus(-_mean_per_image(fake)).mean()


@DISCRIMINATOR_LOSSES.register("non_saturating")
def _non_saturating_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    return _vanilla_discriminator(_mean_per_image(real), _mean_per_image(fake))


@GENERATOR_LOSSES.register("hinge")
def _hinge_generator(fake: Tensor) -> Tensor:
    return -fake.mean()


@DISCRIMINATOR_LOSSES.register("hinge")
def _hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


@GENERATOR_LOSSES.register("vanilla")
def _vanilla_generator(fake: Tensor) -> Tensor:
    return F.softplus(-fake).mean()


@DISCRIMINATOR_LOSSES.register("vanilla")
def _vanilla_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())


def _mean_per_image(logits: Tensor) -> Tensor:
    return logits.reshape(len(logits), -1).mean(dim=1)


def _at_least_float32(logits: Tensor) -> Tensor:
    """Half-precision logits come from autocast; their mean needs float32."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
