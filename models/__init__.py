"""The fixed frame around a quantizer: autoencoder, discriminators, losses."""

from models.autoencoder import AutoEncoder, AutoEncoderOutput, Bottleneck
from models.decoder import Decoder
from models.discriminators import DISCRIMINATORS, build_discriminator
from models.encoder import Encoder
from models.gan_losses import discriminator_loss, generator_loss
from models.perceptual import PERCEPTUAL, PerceptualDistance, build_perceptual

__all__ = [
    "DISCRIMINATORS",
    "PERCEPTUAL",
    "AutoEncoder",
    "AutoEncoderOutput",
    "Bottleneck",
    "Decoder",
    "Encoder",
    "PerceptualDistance",
    "build_discriminator",
    "build_perceptual",
    "discriminator_loss",
    "generator_loss",
]
