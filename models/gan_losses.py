"""Adversarial losses of generator and discriminator, on logits of any shape.

As in Wang et al. 2024, https://arxiv.org/abs/2412.02632, equations 17-24, where any loss of the
generator may meet any loss of the discriminator (the paper's best pair is `non_saturating` for the
generator and `hinge` for the discriminator):

- `vanilla`: binary cross-entropy at each logit, Goodfellow et al. 2014,
  https://arxiv.org/abs/1406.2661, with the non-saturating generator of its section 3.
- `non_saturating`: the same on the mean logit of each image, so that an image is judged as a whole.
- `hinge`: Lim and Ye 2017, https://arxiv.org/abs/1705.02894.

Deviation: equations 21-24 print exp(+|l|) inside the logarithm; the stable form of the
cross-entropy, softplus, has exp(-|l|).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from models.choices import choose


def generator_loss(fake_logits: Float[Tensor, "b ..."], *, kind: str) -> Float[Tensor, ""]:
    """How far the discriminator is from taking reconstructions for real images.

    Args:
        fake_logits: logits of the reconstructions, with gradient to the generator.
        kind: `non_saturating`, `hinge` or `vanilla`.

    Raises:
        ValueError: unknown kind.
    """
    loss = choose(_GENERATOR_LOSSES, kind, what="generator loss")
    return loss(_at_least_float32(fake_logits))


def discriminator_loss(
    real_logits: Float[Tensor, "r ..."],
    fake_logits: Float[Tensor, "f ..."],
    *,
    kind: str,
) -> Float[Tensor, ""]:
    """How badly the discriminator tells real images from reconstructions.

    Args:
        real_logits: logits of the real images.
        fake_logits: logits of the reconstructions, detached from the generator.
        kind: `non_saturating`, `hinge` or `vanilla`.

    Raises:
        ValueError: unknown kind.
    """
    loss = choose(_DISCRIMINATOR_LOSSES, kind, what="discriminator loss")
    return loss(_at_least_float32(real_logits), _at_least_float32(fake_logits))


def _non_saturating_generator(fake: Tensor) -> Tensor:
    return F.softplus(-_mean_per_image(fake)).mean()


def _non_saturating_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    return _vanilla_discriminator(_mean_per_image(real), _mean_per_image(fake))


def _hinge_generator(fake: Tensor) -> Tensor:
    return -fake.mean()


def _hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def _vanilla_generator(fake: Tensor) -> Tensor:
    return F.softplus(-fake).mean()


def _vanilla_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())


def _mean_per_image(logits: Tensor) -> Tensor:
    return logits.reshape(len(logits), -1).mean(dim=1)


def _at_least_float32(logits: Tensor) -> Tensor:
    """Half-precision logits come from autocast; their mean needs more digits than they have."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


_GENERATOR_LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "hinge": _hinge_generator,
    "non_saturating": _non_saturating_generator,
    "vanilla": _vanilla_generator,
}
_DISCRIMINATOR_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hinge": _hinge_discriminator,
    "non_saturating": _non_saturating_discriminator,
    "vanilla": _vanilla_discriminator,
}
