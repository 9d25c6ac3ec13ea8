"""Groups of channels, each with its own quantizer."""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quantizers.base import Quantizer, QuantizerOutput


def quantize_groups(
    subquantizers: Iterable[Quantizer], z: Float[Tensor, "b c *spatial"], *, group_channels: int
) -> QuantizerOutput:
    """Quantizes equally wide groups of neighbouring channels; losses are means over groups."""
    subvectors = z.split(group_channels, dim=1)
    outputs = [
        subquantizer.quantize(subvector)
        for subquantizer, subvector in zip(subquantizers, subvectors, strict=True)
    ]
    losses = {
        name: torch.stack([output.losses[name] for output in outputs]).mean()
        for name in outputs[0].losses  # groups are equally wide, so this is the mean over elements
    }
    return QuantizerOutput(
        quantized=torch.cat([output.quantized for output in outputs], dim=1),
        indices=torch.cat([output.indices for output in outputs], dim=1),
        losses=losses,
    )


def dequantize_groups(
    subquantizers: Iterable[Quantizer], indices: Int[Tensor, "b k *spatial"]
) -> Float[Tensor, "b c *spatial"]:
    """Looks up one index per group and joins the channels."""
    codes = [
        subquantizer.dequantize(index)
        for subquantizer, index in zip(subquantizers, indices.split(1, dim=1), strict=True)
    ]
    return torch.cat(codes, dim=1)
