"""CIFAR-10 (Krizhevsky 2009), read by torchvision: 50,000 training, 10,000 test images of 32 px."""

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from bench.data.base import DATA_SETS, DataError, ImageData, find_root, fingerprint
from bench.data.decode import square_view

NATIVE_SIZE = 32  # pixels


@dataclass(frozen=True)
class Cifar10Images:
    """The training or the test images of CIFAR-10 as an `ImageSet`, in memory."""

    pixels: UInt8[np.ndarray, "n 32 32 3"]
    size: int

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int, seed: int | None) -> UInt8[Tensor, "3 s s"]:
        """See `ImageSet.image`; the images are square, so a seed only flips."""
        return square_view(Image.fromarray(self.pixels[index]), self.size, seed)


@DATA_SETS.register("cifar10")
def load(image_size: int, root: str | None) -> ImageData:
    """Opens CIFAR-10, at most at 32 px; torchvision verifies the checksums.

    `root` contains cifar-10-batches-py/; None reads QUANTIZER_ZOO_DATA.
    """
    if image_size > NATIVE_SIZE:
        raise DataError(
            f"cifar10 has images of {NATIVE_SIZE} px and does not enlarge them, got "
            f"image_size={image_size}; use at most {NATIVE_SIZE}, or another data set"
        )
    folder = find_root("cifar10", root)
    train, test = (Cifar10Images(_read(folder, train=train), image_size) for train in (True, False))
    return ImageData(
        name="cifar10",
        train=train,
        test=test,
        fingerprint=fingerprint(
            data="cifar10",
            image_size=image_size,
            train=hashlib.sha256(train.pixels.tobytes()).hexdigest(),
            test=hashlib.sha256(test.pixels.tobytes()).hexdigest(),
        ),
        description=(
            f"CIFAR-10: {len(train)} training and {len(test)} test images at {image_size} px, "
            "training images flipped at random"
        ),
    )


def _read(folder: Path, *, train: bool) -> UInt8[np.ndarray, "n 32 32 3"]:
    from torchvision.datasets import CIFAR10  # takes seconds to import

    try:
        with warnings.catch_warnings():
            # The files were pickled by a NumPy that wrote `align` as 0: NumPy 2.4.0 to 2.4.4 warn.
            warnings.filterwarnings("ignore", message=".*align.*")
            return np.ascontiguousarray(CIFAR10(folder, train=train, download=False).data)
    except RuntimeError as error:
        raise DataError(
            f"CIFAR-10 is missing or damaged: expected {folder.absolute() / CIFAR10.base_folder}/ "
            f'with data_batch_1 .. 5 and test_batch; get it with\n  python -c "from '
            f"torchvision.datasets import CIFAR10; CIFAR10('{folder.absolute()}', download=True)\""
        ) from error
