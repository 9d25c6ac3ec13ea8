"""Published weights that a user may store on this machine, and one checked way to read them.

The files lie in the checkpoints folder of `torch.hub` (`TORCH_HOME` moves it). They are pickles or
TorchScript, so a file with another SHA-256 than the published one is never opened. DINOv2 publishes
no SHA-256: its files may only be opened as plain tensors (`weights_only=True`), and records name
them by the hash of the file that was read. Nothing is downloaded here.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """One published file.

    Attributes:
        name: the name to show.
        file: name in the checkpoints folder.
        sha256: of the published file, 64 hexadecimal digits; empty if none is published.
        url: source of the file.
        licence: its licence.
        used_for: what needs it.
    """

    name: str
    file: str
    sha256: str
    url: str
    licence: str
    used_for: str

    @property
    def path(self) -> Path:
        """Where the file must lie."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.file

    def sha256_found(self) -> str:
        """SHA-256 of the file on this machine.

        Raises:
            FileNotFoundError: the file is not on this machine.
        """
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def checked_path(self, *, otherwise: str) -> Path:
        """The path, after comparing the file with its published SHA-256, if there is one.

        Args:
            otherwise: what a user can do without this file; ends the error about a missing one.

        Raises:
            FileNotFoundError: the file is not on this machine.
            ValueError: it has another SHA-256.
        """
        if not self.path.is_file():
            raise FileNotFoundError(
                f"the weights of {self.name} are not at {self.path}; get them once with\n"
                f"  curl --create-dirs -Lo {self.path} {self.url}\n"
                f"or {otherwise}"
            )
        if self.sha256 and (actual := self.sha256_found()) != self.sha256:
            raise ValueError(
                f"{self.path} is damaged or another file: its SHA-256 is {actual}, expected "
                f"{self.sha256}; delete it and get it again from {self.url}"
            )
        return self.path


_TORCHVISION_LICENCE = "BSD-3-Clause (torchvision); trained on ImageNet, whose own terms apply"

INCEPTION = WeightFile(
    name="Inception v3 of FID",
    file="weights-inception-2015-12-05-6726825d.pth",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    url=(
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth"
    ),
    licence="Apache-2.0 (TensorFlow, converted by torch-fidelity)",
    used_for="rFID: extractor=inception; sFID: metrics=sfid of bench.score",
)
ALEXNET = WeightFile(
    name="AlexNet",
    file="alexnet-owt-7be5be79.pth",
    sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    licence=_TORCHVISION_LICENCE,
    used_for="LPIPS to report: lpips_alex",
)
VGG16 = WeightFile(
    name="VGG16",
    file="vgg16-397923af.pth",
    sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
    licence=_TORCHVISION_LICENCE,
    used_for="LPIPS to train with: lpips_vgg; features of bench.score: vgg16",
)
_CLIP_LICENCE = (
    "none stated for the weights (github.com/openai/CLIP/issues/203); the code is MIT; OpenAI's "
    "model card calls every deployed use out of scope"
)
_CLIP_SHA256 = {
    "RN50": "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
    "RN101": "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599",
    "RN50x4": "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd",
    "RN50x16": "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa",
    "RN50x64": "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c",
    "ViT-B-32": "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
    "ViT-B-16": "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
    "ViT-L-14": "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
    "ViT-L-14-336px": "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
}
# The keys are torch-fidelity's names of the extractors, and so are the names of CLIP's files.
DINOV2 = {
    (key := f"dinov2-vit-{size}-14"): WeightFile(
        name=f"DINOv2 ViT-{size if size == 'g' else size.upper()}/14",
        file=(file := f"dinov2_vit{size}14_pretrain.pth"),
        sha256="",
        url=f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vit{size}14/{file}",
        licence="Apache-2.0 (Meta)",
        used_for=f"features of bench.score: {key}",
    )
    for size in ("s", "b", "l", "g")
}
CLIP = {
    (key := f"clip-{model.lower()}"): WeightFile(
        name=f"CLIP {model}",
        file=f"{key}-{sha256}.pt",
        sha256=sha256,
        url=f"https://openaipublic.azureedge.net/clip/models/{sha256}/{model}.pt",
        licence=_CLIP_LICENCE,
        used_for=f"features of bench.score: {key}",
    )
    for model, sha256 in _CLIP_SHA256.items()
}
WEIGHT_FILES = (INCEPTION, ALEXNET, VGG16, *DINOV2.values(), *CLIP.values())
