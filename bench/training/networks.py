"""From configuration to modules, each part drawn from its own random stream."""

import hashlib
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bench.conf.operating_point import OperatingPoint
from bench.conf.schema import BenchConfig, name_and_options
from bench.training.seeds import seeded
from models import (
    AutoEncoder,
    Bottleneck,
    Decoder,
    Encoder,
    PerceptualDistance,
    build_discriminator,
    build_perceptual,
)
from quantizers import Quantizer


@dataclass(frozen=True)
class Modules:
    """All networks of one run, on the CPU, as they are at step 0."""

    autoencoder: AutoEncoder
    discriminator: nn.Module | None
    perceptual: PerceptualDistance | None


def build_modules(config: BenchConfig, point: OperatingPoint) -> Modules:
    """Builds the frame first, so that nothing of the quantizer can reach its initial weights."""
    recipe, frame = config.recipe, config.recipe.frame
    with seeded(config.seed, "init_frame"):
        encoder = Encoder(
            out_channels=frame.feature_channels,
            channels=frame.channels,
            multipliers=frame.multipliers,
            depths=frame.encoder_depths,
            attention=frame.attention,
            norm_groups=frame.norm_groups,
        )
        decoder = Decoder(
            in_channels=frame.feature_channels,
            channels=frame.channels,
            multipliers=frame.multipliers,
            depths=frame.decoder_depths,
            attention=frame.attention,
            depth_to_space=frame.depth_to_space,
            adaptive_norm=frame.adaptive_norm,
            norm_groups=frame.norm_groups,
        )
    with seeded(config.seed, "init_discriminator"):
        name, options = name_and_options("recipe.discriminator", recipe.discriminator)
        discriminator = build_discriminator(name, **({} if name == "none" else options))
    with seeded(config.seed, "init_quantizer"):
        bottleneck = Bottleneck(quantizer=point.build(), feature_channels=frame.feature_channels)
    autoencoder = AutoEncoder(encoder=encoder, bottleneck=bottleneck, decoder=decoder)
    return Modules(autoencoder, discriminator, build_perceptual(recipe.losses.perceptual))


def parameter_counts(modules: Modules) -> dict[str, int]:
    """Trainable parameters by owner; the adapters count as the quantizer's."""
    parts = {
        "encoder": modules.autoencoder.encoder,
        "decoder": modules.autoencoder.decoder,
        "quantizer": modules.autoencoder.bottleneck,
        "discriminator": modules.discriminator,
    }
    return {
        name: sum(parameter.numel() for parameter in part.parameters()) if part else 0
        for name, part in parts.items()
    }


def weights_sha256(*modules: nn.Module | None) -> str:
    """Identity of the weights and buffers of some modules, by name, shape and value."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in module.state_dict().items() if module else ():
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
            digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for the matrices of frame and adapters; none for quantizers, norms, biases.

    An unused code would shrink under weight decay, a difference between methods that none means.
    """
    quantizers = (part for part in module.modules() if isinstance(part, Quantizer))
    codebooks = {id(parameter) for part in quantizers for parameter in part.parameters()}
    decayed: list[Tensor] = []
    free: list[Tensor] = []
    for parameter in module.parameters():
        matrix = parameter.ndim >= 2 and id(parameter) not in codebooks
        (decayed if matrix else free).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
