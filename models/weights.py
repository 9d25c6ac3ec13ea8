"""Files of published weights that a user may put on this machine, and one checked way to them.

Each lies in the checkpoints folder of `torch.hub` (`TORCH_HOME` moves it). They are pickles, so a
file whose SHA-256 is not the published one is never opened. Nothing is downloaded here.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """One published file.

    Attributes:
        name: for people.
        file: name in the checkpoints folder.
        sha256: of the published file, 64 hexadecimal digits.
        url: where it comes from.
        licence: under which it is given out.
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
        """Where the file is looked for."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.file

    def sha256_found(self) -> str:
        """SHA-256 of the file on this machine.

        Raises:
            FileNotFoundError: there is none.
        """
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def checked_path(self, *, otherwise: str) -> Path:
        """The path, after a check of the content.

        Args:
            otherwise: what a user can do without this file; ends the message about a missing one.

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
        found = self.sha256_found()
        if found != self.sha256:
            raise ValueError(
                f"{self.path} is damaged or another file: its SHA-256 is {found}, expected "
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
    used_for="rFID: extractor=inception",
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
    used_for="LPIPS to train with: lpips_vgg",
)
WEIGHT_FILES = (INCEPTION, ALEXNET, VGG16)
