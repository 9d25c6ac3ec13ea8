"""PatchGAN: a discriminator that judges overlapping patches.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017,
https://arxiv.org/abs/1611.07004, section 3.2.2 and appendix 6.1.2. Channels, layers and
initialization follow Wang et al. 2024, https://arxiv.org/abs/2412.02632, table 19.
"""

from jaxtyping import Float
from torch import Tensor, nn

from models.blocks import kaiming
from models.discriminators import DISCRIMINATORS


@DISCRIMINATORS.register("patchgan")
class PatchGAN(nn.Module):
    """Convolutions that give one logit per patch.

    Args:
        channels: width of the first layer; each layer doubles it, up to 8 times.
        layers: convolutions that halve the resolution; 3 give patches of 70x70 pixels.

    Raises:
        ValueError: `channels` or `layers` is below 1.
    """

    def __init__(self, *, channels: int, layers: int) -> None:
        super().__init__()
        if not all(isinstance(size, int) and size >= 1 for size in (channels, layers)):
            raise ValueError(
                "channels and layers must be whole numbers, at least 1, got "
                f"channels={channels!r}, layers={layers!r}"
            )
        self.min_side = 3 * 2**layers  # each of the last two convolutions shortens a side by one
        widths = [channels * min(2**layer, 8) for layer in range(layers + 1)]
        self.layers = nn.Sequential(
            kaiming(nn.Conv2d(3, channels, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)
        )
        for layer in range(1, layers + 1):
            conv = nn.Conv2d(
                widths[layer - 1],
                widths[layer],
                4,
                stride=2 if layer < layers else 1,
                padding=1,
                bias=False,  # the batch norm that follows has one
            )
            self.layers.extend([kaiming(conv), nn.BatchNorm2d(widths[layer]), nn.LeakyReLU(0.2)])
        self.head = kaiming(nn.Conv2d(widths[-1], 1, 4, padding=1), gain=0.1)

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 1 h w"]:
        """Logits of images in [-1, 1]: positive for real, negative for fake.

        Raises:
            ValueError: the images are smaller than `min_side` pixels.
        """
        height, width = images.shape[2:]
        if min(height, width) < self.min_side:
            raise ValueError(
                f"this PatchGAN needs images of at least {self.min_side}x{self.min_side} pixels, "
                f"got {height}x{width}; use fewer layers"
            )
        return self.head(self.layers(images))
