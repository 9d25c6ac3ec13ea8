"""Perceptual distances by name: how different two images look to a frozen network."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from quantizers.registry import Registry

PERCEPTUAL: Registry[nn.Module | None] = Registry(
    "perceptual distance",
    modules=dict.fromkeys(("lpips_alex", "lpips_rand", "lpips_vgg"), "models.lpips_distances"),
)


@PERCEPTUAL.register("none")
def _no_distance() -> None:
    """Trains or judges without a perceptual distance."""


class PerceptualDistance(nn.Module):
    """A frozen network that compares images; built by `build_perceptual`.

    It stays in eval mode even after `train()`, because the heads of LPIPS contain dropout. Keep it
    out of the modules that are optimized and saved.

    Args:
        name: the registered name.
        network: maps two batches of images to one number per image, in any shape.
        min_side: smallest height and width, in pixels.
        options: the options of the network that differ from their defaults.
    """

    def __init__(
        self,
        *,
        name: str,
        network: nn.Module,
        min_side: int,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.min_side = min_side
        self.options = dict(options or {})
        self.network = network.requires_grad_(False)
        self.eval()

    def forward(
        self, x: Float[Tensor, "b 3 H W"], y: Float[Tensor, "b 3 H W"]
    ) -> Float[Tensor, " b"]:
        """Distance of each image in `x` to the one in `y`, both in [-1, 1]; 0 for equal images.

        Raises:
            ValueError: the images are smaller than `min_side` pixels.
        """
        height, width = x.shape[2:]
        if min(height, width) < self.min_side:
            raise ValueError(
                f"{self.name} needs images of at least {self.min_side}x{self.min_side} pixels, got "
                f"{height}x{width}; use larger images or another perceptual distance"
            )
        return self.network(x, y).flatten()

    def train(self, mode: bool = True) -> "PerceptualDistance":
        """Does not leave eval mode."""
        return super().train(False)

    @property
    def identity(self) -> str:
        """The name and 12 hexadecimal digits of the SHA-256 of all options and weights.

        Equal identities give equal distances; put it in the record of a run.
        """
        options = json.dumps(self.options, sort_keys=True) if self.options else ""
        digest = hashlib.sha256(options.encode())
        for key, value in sorted(self.network.state_dict().items()):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)} ".encode())
            digest.update(value.cpu().contiguous().numpy().tobytes())
        return f"{self.name}-{digest.hexdigest()[:12]}"


def build_perceptual(name: str, **options: Any) -> PerceptualDistance | None:
    """Builds a perceptual distance by name; `none` gives None.

    Built in are `lpips_vgg` (the usual training loss), `lpips_alex` (the usual metric) and
    `lpips_rand` (needs no weights, is not LPIPS). A plugin adds one in five lines:

        @PERCEPTUAL.register("blurred_l2")
        class BlurredL2(nn.Module):
            min_side = 4  # pixels; 1 if left out
            def __init__(self, *, pool: int = 2) -> None: ...  # the arguments are the options
            def forward(self, x, y): ...  # images in [-1, 1] -> one distance per image

    Raises:
        ValueError: unknown name or option, or a file of weights that is not the published one.
        FileNotFoundError: the weights of the trunk are not on this machine.
    """
    network = PERCEPTUAL.build(name, **options)
    if network is None:
        return None
    defaults = PERCEPTUAL.options(name)
    return PerceptualDistance(
        name=name,
        network=network,
        min_side=getattr(network, "min_side", 1),
        options={key: value for key, value in options.items() if value != defaults.get(key)},
    )
