"""The frame around a quantizer: encoder, bottleneck, decoder.

Encoder and decoder are the same for every quantizer; only the bottleneck depends on the quantizer's
number of channels. This makes two quantizers comparable.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from models.blocks import kaiming
from models.decoder import Decoder
from models.encoder import Encoder
from quantizers import Quantizer, QuantizerOutput


@dataclass(frozen=True)
class AutoEncoderOutput:
    """The result of one pass of images through the frame.

    Attributes:
        reconstruction: images in about [-1, 1], not clamped.
        latent: input of the quantizer.
        quantized: output of the quantizer.
        indices: one integer per codebook and latent position.
        losses: scalars of the quantizer to add to the training loss, already weighted.
    """

    reconstruction: Float[Tensor, "b 3 H W"]
    latent: Float[Tensor, "b c h w"]
    quantized: Float[Tensor, "b c h w"]
    indices: Int[Tensor, "b k h w"]
    losses: Mapping[str, Float[Tensor, ""]]


class Bottleneck(nn.Module):
    """A quantizer between two 1x1 convolutions that adapt the number of channels.

    All its parameters count as parameters of the quantizer.

    Args:
        quantizer: any quantizer; its `latent_channels` set the width between the convolutions.
        feature_channels: channels of the encoder's output and the decoder's input.

    Raises:
        ValueError: `feature_channels` is below 1.
    """

    def __init__(self, *, quantizer: Quantizer, feature_channels: int) -> None:
        super().__init__()
        if feature_channels < 1:
            raise ValueError(f"feature_channels must be at least 1, got {feature_channels}")
        self.feature_channels = feature_channels
        self.to_latent = kaiming(nn.Conv2d(feature_channels, quantizer.latent_channels, 1))
        self.quantizer = quantizer
        self.from_latent = kaiming(nn.Conv2d(quantizer.latent_channels, feature_channels, 1))

    def forward(
        self, features: Float[Tensor, "b f h w"]
    ) -> tuple[Float[Tensor, "b f h w"], Float[Tensor, "b c h w"], QuantizerOutput]:
        """Features for the decoder, the quantizer's input and its output."""
        latent = self.to_latent(features)
        output = self.quantizer(latent)
        return self._restore(output.quantized), latent, output

    def encode(self, features: Float[Tensor, "b f h w"]) -> Int[Tensor, "b k h w"]:
        """The indices that `forward` gives."""
        return self.quantizer(self.to_latent(features)).indices

    def decode(self, indices: Int[Tensor, "b k h w"]) -> Float[Tensor, "b f h w"]:
        """The features that `forward` gives for these indices."""
        codes = self.quantizer.dequantize(indices)
        return self._restore(codes.to(self.from_latent.weight.dtype))

    def _restore(self, codes: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f h w"]:
        """Gives both paths the same strides, because strides can change a convolution's rounding.

        `contiguous` is not enough: it keeps the strides of axes of length 1.
        """
        return self.from_latent(codes.clone(memory_format=torch.contiguous_format))


class AutoEncoder(nn.Module):
    """Images to indices and back.

    In eval mode `decode(encode(images))` is bit-equal to `forward(images).reconstruction` on the
    same device under the same autocast.

    Raises:
        ValueError: the three parts disagree on the number of feature channels, or encoder and
            decoder on the down-sampling factor.
    """

    def __init__(self, *, encoder: Encoder, bottleneck: Bottleneck, decoder: Decoder) -> None:
        super().__init__()
        if not encoder.out_channels == bottleneck.feature_channels == decoder.in_channels:
            raise ValueError(
                "encoder, bottleneck and decoder must share the number of feature channels; got "
                f"encoder.out_channels={encoder.out_channels}, "
                f"bottleneck.feature_channels={bottleneck.feature_channels}, "
                f"decoder.in_channels={decoder.in_channels}"
            )
        if encoder.downsampling != decoder.downsampling:
            raise ValueError(
                "encoder and decoder must have the same number of multipliers; the encoder divides "
                f"the resolution by {encoder.downsampling}, the decoder multiplies it by "
                f"{decoder.downsampling}"
            )
        self.encoder = encoder
        self.bottleneck = bottleneck
        self.decoder = decoder

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> AutoEncoderOutput:
        """Reconstructs images in [-1, 1]; the sides must be multiples of `downsampling`."""
        features, latent, output = self.bottleneck(self.encoder(images))
        reconstruction = self.decoder(features)
        return AutoEncoderOutput(
            reconstruction, latent, output.quantized, output.indices, output.losses
        )

    def encode(self, images: Float[Tensor, "b 3 H W"]) -> Int[Tensor, "b k h w"]:
        """The indices of images in [-1, 1]."""
        return self.bottleneck.encode(self.encoder(images))

    def decode(self, indices: Int[Tensor, "b k h w"]) -> Float[Tensor, "b 3 H W"]:
        """The images of indices, in about [-1, 1], not clamped."""
        return self.decoder(self.bottleneck.decode(indices))

    @property
    def downsampling(self) -> int:
        """Pixels per latent position along each side."""
        return self.encoder.downsampling
