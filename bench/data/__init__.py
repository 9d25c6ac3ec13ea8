"""Images to train on and images to judge by, behind one function: `load_data`.

Each data set is one module of this folder with a function `load(image_size, root) -> ImageData`. It
is imported only when it is asked for. Nothing here ever downloads.
"""

import difflib
from importlib import import_module

from bench.data.base import DataError, ImageData, ImageError, ImageSet, test_images
from bench.data.held_out import tune_split
from bench.data.stream import Batch, TrainingStream, index_digest, training_batches

__all__ = [
    "DATA_SETS",
    "Batch",
    "DataError",
    "ImageData",
    "ImageError",
    "ImageSet",
    "TrainingStream",
    "index_digest",
    "load_data",
    "test_images",
    "training_batches",
    "tune_split",
]

DATA_SETS = ("cifar10", "deadleaves", "folder", "imagenet", "photos")


def load_data(name: str, *, image_size: int, root: str | None = None) -> ImageData:
    """Opens a data set, split into training and test images.

    Args:
        name: one of `DATA_SETS`.
        image_size: side of the square images, in pixels.
        root: the folder that holds the files, for the data sets that live in one. Without it
            `cifar10` and `imagenet` are looked for in the folder that QUANTIZER_ZOO_DATA names.

    Raises:
        DataError: the data set is unknown, missing, unreadable, or too small for `image_size`.
    """
    if name not in DATA_SETS:
        near = difflib.get_close_matches(name, DATA_SETS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(f"unknown data set {name!r}; known: {', '.join(DATA_SETS)}{hint}")
    if image_size < 1:
        raise DataError(f"image_size must be a positive number of pixels, got {image_size}")
    data: ImageData = import_module(f"bench.data.{name}").load(image_size, root)
    return data
