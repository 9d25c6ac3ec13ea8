"""CIFAR-10 (Krizhevsky 2009), read by torchvision: 50,000 training, 10,000 test images of 32 px."""

import hashlib
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from bench.data.base import DATA_SETS, DataError, ImageData, find_root, fingerprint
from bench.data.decode import square_view

NATIVE_SIZE = 32  # pixels


class Cifar10Images:
    """One part of CIFAR-10 as an `ImageSet`, in memory."""

    def __init__(self, pixels: UInt8[np.ndarray, "n 32 32 3"], *, size: int) -> None:
        self.pixels = pixels
        self.size = size

    def __len__(self) -> int:
        """Number of images."""
        return len(self.pixels)

    def image(self, index: int, seed: int | None) -> UInt8[Tensor, "3 s s"]:
        """See `ImageSet.image`; a square has no room for a random crop, so a seed only flips."""
        return square_view(Image.fromarray(self.pixels[index]), self.size, seed)


@DATA_SETS.register("cifar10")
def load(image_size: int, root: str | None) -> ImageData:
    """Opens CIFAR-10; torchvision verifies the checksums.

    Args:
        image_size: side of the images, in pixels, at most 32.
        root: folder that holds cifar-10-batches-py/; None reads QUANTIZER_ZOO_DATA.

    Raises:
        DataError: the files are missing or damaged, or the size is above 32.
    """
    if image_size > NATIVE_SIZE:
        raise DataError(
            f"cifar10 has images of {NATIVE_SIZE} px and does not enlarge them, got "
            f"image_size={image_size}; use at most {NATIVE_SIZE}, or another data set"
        )
    folder = find_root("cifar10", root)
    parts = {name: _read(folder, train=name == "train") for name in ("train", "test")}
    digests = {name: hashlib.sha256(pixels.tobytes()).hexdigest() for name, pixels in parts.items()}
    train, test = (Cifar10Images(parts[name], size=image_size) for name in ("train", "test"))
    return ImageData(
        name="cifar10",
        train=train,
        test=test,
        fingerprint=fingerprint(data="cifar10", image_size=image_size, **digests),
        description=(
            f"CIFAR-10: {len(train)} training and {len(test)} test images at {image_size} px, "
            "training images flipped at random"
        ),
    )


def _read(folder: Path, *, train: bool) -> UInt8[np.ndarray, "n 32 32 3"]:
    from torchvision.datasets import CIFAR10  # takes seconds to import

    try:
        with warnings.catch_warnings():
            # The files were pickled by a NumPy that wrote `align` as 0; NumPy 2.4.0 to 2.4.4 warn.
            warnings.filterwarnings("ignore", message=".*align.*")
            return np.ascontiguousarray(CIFAR10(folder, train=train, download=False).data)
    except RuntimeError as error:
        raise DataError(
            f"CIFAR-10 is missing or damaged: expected {folder.absolute() / CIFAR10.base_folder}/ "
            f'with data_batch_1 .. 5 and test_batch; get it with\n  python -c "from '
            f"torchvision.datasets import CIFAR10; CIFAR10('{folder.absolute()}', download=True)\""
        ) from error
