"""LPIPS as a perceptual distance, on a published or a random trunk.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018,
https://arxiv.org/abs/1801.03924, in the authors' package `lpips` (version 0.1 of the weights). The
package ships the linear heads but not the ImageNet trunk. The trunk must lie in the checkpoints
folder of `torch.hub`; nothing is downloaded here.
"""

import warnings

import lpips
import torch
from torch import nn

from models.perceptual import PERCEPTUAL
from models.weights import ALEXNET, VGG16, WeightFile

_MIN_SIDE = {"alex": 31, "vgg": 16}  # pixels; the trunk pools smaller images to nothing
_RANDOM_TRUNK_SEED = 0


@PERCEPTUAL.register("lpips_alex")
def lpips_alex() -> nn.Module:
    """LPIPS on AlexNet, the usual metric."""
    return _build("alex", ALEXNET)


@PERCEPTUAL.register("lpips_vgg")
def lpips_vgg() -> nn.Module:
    """LPIPS on VGG16, the usual training loss."""
    return _build("vgg", VGG16)


@PERCEPTUAL.register("lpips_rand")
def lpips_rand() -> nn.Module:
    """LPIPS's heads on an AlexNet with random weights from a fixed seed.

    Needs no file and still compares local structure, but is not LPIPS: its values compare only with
    each other.
    """
    return _build("alex", None)


def _build(net: str, trunk: WeightFile | None) -> nn.Module:
    weights = None
    if trunk is not None:
        path = trunk.checked_path(
            otherwise="train with perceptual=lpips_rand or perceptual=none, which need no weights"
        )
        weights = torch.load(path, map_location="cpu", weights_only=True)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), warnings.catch_warnings():
        torch.default_generator.manual_seed(_RANDOM_TRUNK_SEED)  # leaves CUDA generators alone
        # the package passes torchvision its deprecated argument `pretrained`
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    if weights is not None:
        # the package names a trunk layer `slice2.3.weight`, torchvision `features.3.weight`
        network.net.load_state_dict(
            {key: weights[f"features.{key.partition('.')[2]}"] for key in network.net.state_dict()}
        )
    network.min_side = _MIN_SIDE[net]
    return network
