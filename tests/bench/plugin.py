"""One part of each kind, as a plugin brings them: `python -m bench.run plugins=plugin ...`.

Nothing inside the project knows of this file. Every argument of a part is an option that can be
typed, and it is checked against the signature.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.data import DATA_SETS, ImageData
from bench.data.base import fingerprint
from bench.metric import metric
from bench.metrics.extractor import EXTRACTORS, Extractor
from models import DISCRIMINATORS, PERCEPTUAL
from quantizers import Quantizer, QuantizerOutput, register
from quantizers.estimators import straight_through


@register("signs")
class Signs(Quantizer):
    """The sign of every channel, times `size`."""

    def __init__(self, *, latent_channels: int = 10, size: float = 1.0) -> None:
        super().__init__(latent_channels=latent_channels, codebook_sizes=(2,) * latent_channels)
        self.size = size

    def quantize(self, z: Tensor) -> QuantizerOutput:
        indices = (z > 0).long()
        return QuantizerOutput(straight_through(z, self.dequantize(indices)), indices)

    def dequantize(self, indices: Tensor) -> Tensor:
        return (2.0 * indices - 1) * self.size


@metric("edge_error", label="edge error", digits=3, note="`edge_error` compares differences.")
def edge_error(images: Tensor, reconstruction: Tensor) -> Tensor:
    """Mean absolute error of the differences between neighbouring pixels, one number per image."""
    original, decoded = (part.float().diff(dim=-1) for part in (images, reconstruction))
    return (original - decoded).abs().flatten(1).mean(dim=1)


class Ramps:
    """Images with one grey ramp each; see `bench.data.ImageSet`."""

    def __init__(self, count: int, size: int, contrast: int) -> None:
        self.count, self.size, self.contrast = count, size, contrast

    def __len__(self) -> int:
        return self.count

    def image(self, index: int, seed: int | None) -> Tensor:
        levels = torch.linspace(0, self.contrast, self.size).roll(index)
        return levels.expand(3, self.size, self.size).to(torch.uint8)


@DATA_SETS.register("ramps")
def load_ramps(image_size: int, root: str | None, *, contrast: int = 200) -> ImageData:
    """Eight training and four test images."""
    return ImageData(
        name="ramps",
        train=Ramps(8, image_size, contrast),
        test=Ramps(4, image_size, contrast),
        fingerprint=fingerprint(data="ramps", image_size=image_size, contrast=contrast),
        description=f"grey ramps up to {contrast}",
    )


@DISCRIMINATORS.register("one_convolution")
class OneConvolution(nn.Module):
    """Logits of images "b 3 H W" in [-1, 1]."""

    def __init__(self, *, stride: int = 4) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 1, kernel_size=stride, stride=stride)

    def forward(self, images: Tensor) -> Tensor:
        return self.convolution(images)


@PERCEPTUAL.register("blurred")
class Blurred(nn.Module):
    """Squared error after averaging over squares of `side` pixels, one number per image."""

    def __init__(self, *, side: int = 2) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        difference = F.avg_pool2d(x, self.side) - F.avg_pool2d(y, self.side)
        return difference.square().flatten(1).mean(dim=1)


class Thumbnail(nn.Module):
    """Uint8 images (b, 3, h, w) to features (b, 3 * side * side)."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images.float() / 255, self.side).flatten(1)


@EXTRACTORS.register("thumbnail")
def thumbnail(*, side: int = 2) -> Extractor:
    """Features for the Fréchet distance; its key begins with `fd_thumbnail`."""
    return Extractor(
        name="thumbnail",
        identity=f"thumbnail-{side}",
        label=f"thumbnails of {side} x {side} pixels",
        build=lambda: Thumbnail(side),
    )
