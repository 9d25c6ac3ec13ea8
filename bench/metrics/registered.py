"""The extractors of this package, from local weights.

- `inception`: Inception v3 of the original FID (TensorFlow graph of 2015-12-05, as converted by
  torch-fidelity), its 2048 pooled features.
- `inception-spatial`: the features of sFID (Nash et al., "Generating Images with Sparse
  Representations", ICML 2021, https://arxiv.org/abs/2103.03841): the first 7 channels of the 1 x 1
  convolution of a 17 x 17 block, `mixed_6/conv` in the graph of 2015-12-05, 2023 numbers.
  torch-fidelity has no such layer, so a hook takes them from its network.
- `vgg16`: the second hidden layer of VGG16 after its ReLU, as in the first precision and recall.
- `dinov2-vit-s-14`, `-b-`, `-l-`, `-g-`: the class token, see `bench.metrics.dinov2`.
- `clip-...`: the image embedding, not normalised, as torch-fidelity gives it.
- `scattering`: the embedded extractor, from the file in this package.

The networks resize images as torch-fidelity does: bilinear as in TensorFlow 1, no antialiasing.
"""

from functools import partial

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from bench.metrics.dinov2 import read_weights, vision_transformer
from bench.metrics.extractor import EXTRACTORS
from bench.metrics.features import Extractor
from bench.metrics.fidelity import FidelityNetwork, fidelity_network
from bench.metrics.scattering import VERSION, scattering_identity
from bench.metrics.scattering_file import load_scattering
from models.weights import CLIP, DINOV2, INCEPTION, VGG16

_INCEPTION = "inception-v3-compat"  # in torch-fidelity
_SPATIAL_CHANNELS = 7
_WIDTHS = dict(zip(DINOV2, (384, 768, 1024, 1536), strict=True))  # ViT-S, -B, -L, -g
_OTHERWISE = "choose the extractor 'scattering', which needs none but is not rFID"


@EXTRACTORS.register("auto")
def auto() -> Extractor:
    """Inception if its file is on this machine, and scattering otherwise."""
    return inception() if INCEPTION.path.is_file() else scattering()


@EXTRACTORS.register("scattering")
def scattering() -> Extractor:
    """The embedded extractor."""
    load_scattering()  # a damaged file is an error before a run starts
    return Extractor(
        name="scattering",
        identity=scattering_identity(),
        label="a proxy: scattering features, embedded in this package, not Inception",
        build=load_scattering,
        metric_key=f"fd_scattering_v{VERSION}",
    )


@EXTRACTORS.register("inception")
def inception() -> Extractor:
    """Inception v3, for rFID."""
    weights = INCEPTION.checked_path(otherwise=_OTHERWISE)
    return Extractor(
        name="inception",
        identity=f"{_INCEPTION}-{INCEPTION.sha256[:8]}",
        label=f"Inception v3 (2015-12-05, SHA-256 {INCEPTION.sha256[:8]}), torch-fidelity",
        build=partial(fidelity_network, _INCEPTION, "2048", weights),
        metric_key="rfid",
        weights=weights,
    )


@EXTRACTORS.register("inception-spatial")
def inception_spatial() -> Extractor:
    """Spatial features of Inception v3, for sFID."""
    pooled = inception()
    assert pooled.weights is not None
    # the first layer after the block of sFID, so that nothing more is computed
    network = partial(fidelity_network, _INCEPTION, "768", pooled.weights)
    return Extractor(
        name="inception-spatial",
        identity=f"{pooled.identity}-spatial",
        label=f"spatial features of {pooled.label}",
        build=lambda: _Spatial(network()),
        metric_key="sfid",
        weights=pooled.weights,
    )


def _dinov2(name: str) -> nn.Module:
    """torch-fidelity's extractor around a network read here: its constructor would download."""
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

    class LocalDinoV2(FeatureExtractorDinoV2):
        """Resizes, normalises and calls as the library does."""

        def __init__(self) -> None:
            FeatureExtractorBase.__init__(self, name, ["dinov2"])
            self.feature_extractor_internal_dtype = torch.float32
            self.model = vision_transformer(read_weights(DINOV2[name], width=_WIDTHS[name]))

    return FidelityNetwork(LocalDinoV2())


class _Spatial(nn.Module):
    """Takes the features of sFID out of torch-fidelity's Inception v3."""

    def __init__(self, inception: nn.Module) -> None:
        super().__init__()
        self.inception = inception
        self.convolution: Tensor | None = None
        block = inception.get_submodule("network.Mixed_6d.branch1x1")
        block.register_forward_hook(self._keep)

    def forward(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2023"]:
        self.inception(images)
        assert self.convolution is not None
        return self.convolution[:, :_SPATIAL_CHANNELS].flatten(1)

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.convolution = output


def _register(name: str, layer: str = "") -> None:
    """Registers VGG16, or a CLIP or DINOv2."""

    @EXTRACTORS.register(name)
    def extractor() -> Extractor:
        file = VGG16 if name == "vgg16" else {**DINOV2, **CLIP}[name]
        weights = file.checked_path(otherwise=_OTHERWISE)
        if name in DINOV2:
            read_weights(file, width=_WIDTHS[name])  # a wrong file is an error before a run starts
        sha256 = file.sha256_found()[:8]
        return Extractor(
            name=name,
            identity=f"{name}-{sha256}",
            label=f"features of {file.name} (SHA-256 {sha256}), not Inception",
            build=partial(fidelity_network, name, layer, weights)
            if layer
            else partial(_dinov2, name),
            weights=weights,
        )


_register("vgg16", "fc2_relu")
for _name in CLIP:
    _register(_name, "clip")
for _name in DINOV2:
    _register(_name)
