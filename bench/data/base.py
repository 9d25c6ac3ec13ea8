"""A data set: two finite, deterministic image sets and an identity; and the list of all of them."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from quantizers.registry import Registry

DATA_FOLDER_VARIABLE = "QUANTIZER_ZOO_DATA"


class DataError(ValueError):
    """A data set cannot be used as requested; the message says what to do."""


class ImageError(DataError):
    """A file is refused. It can be pickled, so that a worker can return it as a value."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(str(path), reason)
        self.path = str(path)
        self.reason = reason

    def __str__(self) -> str:
        """Path and reason."""
        return f"{self.path}: {self.reason}"


@runtime_checkable
class ImageSet(Protocol):
    """A finite set of square colour images; each is a pure function of index and seed."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def image(self, index: int, seed: int | None) -> UInt8[Tensor, "3 s s"]:
        """Returns one image.

        Args:
            index: in [0, len).
            seed: of crop and flip, for training; None gives the fixed view, for the test.

        Raises:
            ImageError: the image's file cannot be used.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """A data set, split.

    Fingerprint and description are part of a table's identity. An option of the data set belongs in
    both if it changes pixels and differs from its default; otherwise in neither.

    Attributes:
        name: as given to `load_data`.
        train: images to train on; shares no pixel with `test`.
        test: images to judge on.
        fingerprint: SHA-256 (hex) of content, split rule, image size and such options.
        description: one line for the footnote of a table.
    """

    name: str
    train: ImageSet
    test: ImageSet
    fingerprint: str
    description: str


DATA_SETS: Registry[ImageData] = Registry(
    "data set",
    modules={
        name: f"bench.data.{name}"
        for name in ("cifar10", "deadleaves", "folder", "imagenet", "photos")
    },
    given=("image_size", "root"),
)


def test_images(images: ImageSet) -> UInt8[Tensor, "n 3 s s"]:
    """The fixed views of all images of a set, in order."""
    first = images.image(0, None)
    batch = torch.empty((len(images), *first.shape), dtype=torch.uint8)
    batch[0] = first
    for index in range(1, len(images)):
        batch[index] = images.image(index, None)
    return batch


test_images.__test__ = False  # type: ignore[attr-defined]  # the name is not a test of pytest


def to_tensor(image: Image.Image) -> UInt8[Tensor, "3 h w"]:
    """Copies an RGB image of Pillow to a tensor."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def fingerprint(**identity: Any) -> str:
    """SHA-256 (hex) of everything that determines the pixels; values must be JSON."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def find_root(name: str, root: str | None) -> Path:
    """The folder of a data set: the one given, or `name` inside the folder of QUANTIZER_ZOO_DATA.

    Raises:
        DataError: no folder is given, or it does not exist.
    """
    shared = os.environ.get(DATA_FOLDER_VARIABLE)
    if root is None and not shared:
        raise DataError(
            f"data set {name!r} needs its folder: give data.root=FOLDER, or set "
            f"{DATA_FOLDER_VARIABLE} to a folder that holds {name}/"
        )
    folder = Path(root).expanduser() if root is not None else Path(str(shared)) / name
    return existing_folder(name, folder)


def existing_folder(name: str, folder: Path) -> Path:
    """Returns the folder.

    Raises:
        DataError: it does not exist.
    """
    if not folder.is_dir():
        instead = "a file" if folder.exists() else "nothing"
        raise DataError(
            f"data set {name!r} expects the folder {folder.absolute()}: found {instead}"
        )
    return folder


def refuse_root(name: str, root: str | None) -> None:
    """Raises DataError if a folder is given to a data set that reads no files."""
    if root is not None:
        raise DataError(
            f"data set {name!r} reads no folder, got data.root={root!r}; "
            "leave data.root out, or use data.name=folder"
        )
