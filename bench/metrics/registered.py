"""Features of every extractor that torch-fidelity 0.4 registers, from local weights, in batches.

- `inception`: Inception v3 of the original FID, its 2048 pooled features.
- `inception-spatial`: the features of sFID (Nash et al., "Generating Images with Sparse
  Representations", ICML 2021, https://arxiv.org/abs/2103.03841): the first 7 channels of the 1 x 1
  convolution of a 17 x 17 block, `mixed_6/conv` in the graph of 2015-12-05, 2023 numbers.
  torch-fidelity has no such layer, so it is taken out of its network on the way.
- `vgg16`: the second hidden layer of VGG16 after its ReLU, as for the first precision and recall.
- `dinov2-vit-s-14`, `-b-`, `-l-`, `-g-`: the class token, see `bench.metrics.dinov2`.
- `clip-...`: the image embedding, not normalised, as torch-fidelity gives it.
- `scattering`: the embedded extractor, from the file in this package.

The networks resize images as torch-fidelity does: bilinear as in TensorFlow 1, no antialiasing.
torch-fidelity reads unknown options as absent ones, defaults to CUDA and downloads what it lacks;
hence one call here, with each option spelled out and with a path for the weights. Its cache of
features is not used.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from bench.command_line import did_you_mean
from bench.metrics.dinov2 import read_weights, vision_transformer
from bench.metrics.extractor import choose_extractor
from bench.metrics.pixels import check_images
from bench.metrics.scattering import VERSION, register_scattering
from bench.metrics.scattering_file import load_scattering
from models.weights import CLIP, DINOV2, VGG16

_SPATIAL_CHANNELS = 7
_WIDTHS = {
    "dinov2-vit-s-14": 384,
    "dinov2-vit-b-14": 768,
    "dinov2-vit-l-14": 1024,
    "dinov2-vit-g-14": 1536,
}
EXTRACTORS = ("inception", "inception-spatial", "scattering", "vgg16", *DINOV2, *CLIP)


@dataclass(frozen=True, kw_only=True)
class RegisteredExtractor:
    """A feature extractor, built once and called in batches.

    Attributes:
        name: one of `EXTRACTORS`.
        identity: name with the hash of the weights: equal identities, equal features.
        network: uint8 images (b, 3, h, w) to a tuple of one tensor (b, d).
        device: where it lies.
    """

    name: str
    identity: str
    network: nn.Module
    device: torch.device

    def key(self, metric: str) -> str:
        """Key in records of a metric of these features: `kid`, `fd_vgg16`, `precision_clip_rn50`.

        Inception alone has no suffix, and its Frechet distances are `rfid` and `rfid_infinity`.
        """
        if self.name == "inception-spatial" and metric == "fd":
            return "sfid"
        if self.name == "inception":
            return metric.replace("fd", "rfid")
        suffix = f"scattering_v{VERSION}" if self.name == "scattering" else self.name
        return f"{metric}_{suffix.replace('-', '_')}"

    def features(
        self, images: UInt8[Tensor, "n 3 h w"], *, batch_size: int = 64
    ) -> Float[Tensor, "n d"]:
        """Features on the CPU; the batch size moves them by rounding only.

        Raises:
            TypeError, ValueError: not a uint8 stack, or images too small.
        """
        check_images(images, "given")
        with _full_float32(self.device), torch.no_grad():
            batches = [self.network(b.to(self.device))[0].cpu() for b in images.split(batch_size)]
        return torch.cat(batches)


def open_extractor(name: str, *, device: torch.device | str) -> RegisteredExtractor:
    """Builds an extractor from weights on this machine; `auto` is as in `choose_extractor`.

    Raises:
        FileNotFoundError: the weights are not on this machine; says where they go.
        ValueError: unknown name or device, or a file with other content than the published one.
    """
    if name == "auto":
        name = choose_extractor("auto").name
    if name not in EXTRACTORS:
        raise ValueError(did_you_mean("extractor", name, ("auto", *EXTRACTORS)))
    device = _checked(device)
    with _full_float32(device):
        if name in DINOV2:
            network, identity = _dinov2(name)
        elif name == "scattering":
            network = _created(register_scattering(), "scattering", weights=None)
            network.scattering = load_scattering()
            identity = choose_extractor(name).identity
        elif name.startswith("inception"):
            inception = choose_extractor("inception")
            spatial = name == "inception-spatial"
            layer = "768" if spatial else "2048"  # the first after the block of sFID, or the last
            network = _created("inception-v3-compat", layer, weights=inception.weights)
            network = _Spatial(network) if spatial else network
            identity = inception.identity + ("-spatial" if spatial else "")
        else:
            file, layer = (VGG16, "fc2_relu") if name == "vgg16" else (CLIP[name], "clip")
            weights = file.checked_path(otherwise="choose the extractor 'scattering'")
            network = _created(name, layer, weights=weights)
            identity = f"{name}-{file.sha256_found()[:8]}"
    return RegisteredExtractor(
        name=name, identity=identity, network=network.to(device), device=device
    )


def _checked(name: torch.device | str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"torch-fidelity runs on 'cpu' or 'cuda', got device {str(name)!r}")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"got device {str(device)!r}, but torch sees no CUDA device; use 'cpu'")
    return device


def _created(registered: str, layer: str, *, weights: Path | None) -> nn.Module:
    """An extractor of torch-fidelity, on the CPU, with all options that it reads."""
    from torch_fidelity.utils import create_feature_extractor

    with warnings.catch_warnings():
        # CLIP comes as TorchScript, which torch calls deprecated
        warnings.filterwarnings("ignore", message=r"`torch\.jit", category=FutureWarning)
        return create_feature_extractor(
            registered,
            [layer],
            cuda=False,
            feature_extractor_weights_path=None if weights is None else str(weights),
            feature_extractor_internal_dtype=None,
            feature_extractor_compile=False,
            verbose=False,
        )


def _dinov2(name: str) -> tuple[nn.Module, str]:
    """torch-fidelity's extractor around a network read here, and its identity."""
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

    weights = read_weights(DINOV2[name], width=_WIDTHS[name])

    class LocalDinoV2(FeatureExtractorDinoV2):
        """Resizes, normalises and calls as the library does; its constructor would download."""

        def __init__(self) -> None:
            FeatureExtractorBase.__init__(self, name, ["dinov2"])
            self.feature_extractor_internal_dtype = torch.float32
            self.model = vision_transformer(weights)

    return LocalDinoV2().eval(), f"{name}-{DINOV2[name].sha256_found()[:8]}"


class _Spatial(nn.Module):
    """Takes the features of sFID out of torch-fidelity's Inception v3."""

    def __init__(self, inception: nn.Module) -> None:
        super().__init__()
        self.inception = inception
        self.convolution: Tensor | None = None
        block = inception.get_submodule("Mixed_6d.branch1x1")
        block.register_forward_hook(self._keep)

    def forward(self, images: UInt8[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b 2023"]]:
        self.inception(images)
        assert self.convolution is not None
        return (self.convolution[:, :_SPATIAL_CHANNELS].flatten(1),)

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.convolution = output


@contextmanager
def _full_float32(device: torch.device) -> Iterator[None]:
    """Keeps autocast, TensorFloat-32 and the random stream of the caller out of features."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.cuda.device(device) if device.type == "cuda" else nullcontext(),
            torch.random.fork_rng(devices=[]),
            torch.autocast(device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
