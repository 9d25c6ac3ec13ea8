"""The autoencoder's adversary: a discriminator, its optimizer and both adversarial losses."""

from jaxtyping import Float
from torch import Tensor, nn

from bench.conf.schema import RecipeConfig
from bench.training.networks import adamw
from models import discriminator_loss, generator_loss


class Adversary:
    """A discriminator in training.

    Args:
        discriminator: on its device.
        recipe: kinds and weights of the losses, and settings of the optimizer.
    """

    def __init__(self, discriminator: nn.Module, recipe: RecipeConfig) -> None:
        self.discriminator = discriminator.train()
        self.losses = recipe.losses
        settings = recipe.optimizer
        self.optimizer = adamw(discriminator, settings, settings.discriminator_learning_rate)

    def generator_loss(self, reconstruction: Float[Tensor, "b 3 H W"]) -> Float[Tensor, ""]:
        """The autoencoder's weighted adversarial loss; no gradient for the discriminator."""
        self.discriminator.requires_grad_(False)
        loss = generator_loss(self.discriminator(reconstruction), kind=self.losses.generator)
        return self.losses.adversarial_weight * loss

    def discriminator_loss(
        self, images: Float[Tensor, "b 3 H W"], reconstruction: Float[Tensor, "b 3 H W"]
    ) -> Float[Tensor, ""]:
        """The discriminator's own loss; no gradient for the reconstruction."""
        self.discriminator.requires_grad_(True)
        return discriminator_loss(
            self.discriminator(images),
            self.discriminator(reconstruction.detach()),
            kind=self.losses.discriminator,
        )
