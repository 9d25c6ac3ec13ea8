"""Feature networks of torch-fidelity 0.4, from local weights.

torch-fidelity ignores options that it does not know, defaults to CUDA and downloads missing
weights. So networks are made here only, with every option given and with a path to the weights. Its
metrics and its cache of features are not used.
"""

import warnings
from pathlib import Path

from jaxtyping import Float, UInt8
from torch import Tensor, nn


class FidelityNetwork(nn.Module):
    """A network of torch-fidelity that returns its one feature layer as a tensor."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        return self.network(images)[0]


def fidelity_network(registered: str, layer: str, weights: Path) -> FidelityNetwork:
    """Makes a network of torch-fidelity on the CPU.

    Args:
        registered: its name in torch-fidelity.
        layer: of the features.
        weights: local file of the weights.
    """
    from torch_fidelity.utils import create_feature_extractor

    with warnings.catch_warnings():
        # CLIP comes as TorchScript, which torch calls deprecated
        warnings.filterwarnings("ignore", message=r"`torch\.jit", category=FutureWarning)
        network = create_feature_extractor(
            registered,
            [layer],
            cuda=False,
            feature_extractor_weights_path=str(weights),
            feature_extractor_internal_dtype=None,
            feature_extractor_compile=False,
            verbose=False,
        )
    return FidelityNetwork(network)
