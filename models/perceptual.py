"""Perceptual distances: how different two images look to a frozen network.

LPIPS is from Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual
Metric", CVPR 2018, https://arxiv.org/abs/1801.03924, in the authors' package `lpips` (version 0.1
of the weights). That package carries the linear heads but not the ImageNet trunk, which must lie
in the checkpoints folder of `torch.hub`; nothing is downloaded here.

`lpips_rand` replaces the trunk by a random one with a fixed seed: it needs no file and still
compares local structure, but it is not LPIPS and its values compare with nothing else.
"""

import hashlib
import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.choices import choose
from models.weights import ALEXNET, VGG16, WeightFile

_RANDOM_TRUNK_SEED = 0


@dataclass(frozen=True)
class _Recipe:
    """How to build one distance; sides are in pixels, below them the trunk pools to nothing."""

    net: Literal["alex", "vgg"]
    min_side: int
    trunk: WeightFile | None


_RECIPES: dict[str, _Recipe | None] = {
    "lpips_alex": _Recipe(net="alex", min_side=31, trunk=ALEXNET),
    "lpips_rand": _Recipe(net="alex", min_side=31, trunk=None),
    "lpips_vgg": _Recipe(net="vgg", min_side=16, trunk=VGG16),
    "none": None,
}


class PerceptualDistance(nn.Module):
    """A frozen network that compares images; built by `build_perceptual`.

    It stays in eval mode whatever `train` asks for, since the heads of LPIPS hold dropout. Keep it
    out of the modules that are optimized and saved.

    Attributes:
        name: under which name it was built.
        min_side: smallest height and width, in pixels.
    """

    def __init__(self, *, name: str, network: nn.Module, min_side: int) -> None:
        super().__init__()
        self.name = name
        self.min_side = min_side
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
        """The name and 12 hexadecimal digits of the SHA-256 of all weights.

        Equal identities give equal distances; put it in the record of a run.
        """
        digest = hashlib.sha256()
        for key, value in sorted(self.network.state_dict().items()):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)} ".encode())
            digest.update(value.cpu().contiguous().numpy().tobytes())
        return f"{self.name}-{digest.hexdigest()[:12]}"


def build_perceptual(name: str) -> PerceptualDistance | None:
    """Builds a perceptual distance by name; `none` gives None.

    Args:
        name: `lpips_vgg` (the usual training loss), `lpips_alex` (the usual metric), `lpips_rand`
            (needs no weights, is not LPIPS) or `none`.

    Raises:
        ValueError: unknown name, or a file of weights that is not the published one.
        FileNotFoundError: the weights of the trunk are not on this machine.
    """
    recipe = choose(_RECIPES, name, what="perceptual distance")
    if recipe is None:
        return None
    trunk = None if recipe.trunk is None else _read_trunk(recipe.trunk)
    network = _build_lpips(net=recipe.net, trunk=trunk)
    return PerceptualDistance(name=name, network=network, min_side=recipe.min_side)


def _build_lpips(*, net: str, trunk: dict[str, Tensor] | None) -> nn.Module:
    """LPIPS with its published heads, on the given trunk or on one of seeded random weights."""
    import lpips  # here, as it imports torchvision: seconds

    with torch.random.fork_rng(devices=[]), torch.device("cpu"), warnings.catch_warnings():
        torch.default_generator.manual_seed(_RANDOM_TRUNK_SEED)  # leaves CUDA generators alone
        # the package passes torchvision its deprecated argument `pretrained`
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    if trunk is not None:
        # the package names a trunk layer `slice2.3.weight`, torchvision `features.3.weight`
        network.net.load_state_dict(
            {key: trunk[f"features.{key.partition('.')[2]}"] for key in network.net.state_dict()}
        )
    return network


def _read_trunk(file: WeightFile) -> dict[str, Tensor]:
    path = file.checked_path(
        otherwise="train with perceptual=lpips_rand or perceptual=none, which need no weights"
    )
    return torch.load(path, map_location="cpu", weights_only=True)
