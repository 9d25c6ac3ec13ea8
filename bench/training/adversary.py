"""The discriminator with its optimizer and its two losses: what the autoencoder plays against."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bench.conf.schema import RecipeConfig
from bench.training.networks import parameter_groups
from models import discriminator_loss, generator_loss


class Adversary:
    """A discriminator in training.

    Args:
        discriminator: on its device.
        recipe: which losses, and the optimizer's settings.
    """

    def __init__(self, discriminator: nn.Module, recipe: RecipeConfig) -> None:
        self.discriminator = discriminator.train()
        self.losses = recipe.losses
        self.optimizer = torch.optim.AdamW(
            parameter_groups(discriminator, recipe.optimizer.weight_decay),
            lr=recipe.optimizer.discriminator_learning_rate,
            betas=(recipe.optimizer.betas[0], recipe.optimizer.betas[1]),
            fused=True,
        )

    def judge(self, reconstruction: Float[Tensor, "b 3 H W"]) -> Float[Tensor, ""]:
        """The autoencoder's adversarial loss, weighted; no gradient for the discriminator."""
        self.discriminator.requires_grad_(False)
        loss = generator_loss(self.discriminator(reconstruction), kind=self.losses.generator)
        return self.losses.adversarial_weight * loss

    def loss(
        self, images: Float[Tensor, "b 3 H W"], reconstruction: Float[Tensor, "b 3 H W"]
    ) -> Float[Tensor, ""]:
        """The discriminator's own loss; no gradient for the reconstruction."""
        self.discriminator.requires_grad_(True)
        return discriminator_loss(
            self.discriminator(images),
            self.discriminator(reconstruction.detach()),
            kind=self.losses.discriminator,
        )
