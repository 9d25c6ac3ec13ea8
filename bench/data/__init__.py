"""Images to train on and images to judge on, behind one function: `load_data`.

Nothing here ever downloads.
"""

from typing import Any

from bench.data.base import DATA_SETS, DataError, ImageData, ImageError, ImageSet, test_images
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


def load_data(name: str, *, image_size: int, root: str | None = None, **options: Any) -> ImageData:
    """Opens a data set, split into training and test images.

    A data set is a function `load(image_size, root, **options) -> ImageData` under
    `@DATA_SETS.register(name)`. The built-in ones are imported only when they are asked for.

    Args:
        name: one of `DATA_SETS.available()`.
        image_size: side of the square images, in pixels.
        root: the folder that holds the files, for data sets that read files. Without it `cifar10`
            and `imagenet` are looked for in the folder that QUANTIZER_ZOO_DATA names.
        options: of the data set.

    Raises:
        DataError: the data set or an option is unknown, or the data set is missing, unreadable or
            too small for `image_size`.
    """
    if image_size < 1:
        raise DataError(f"image_size must be a positive number of pixels, got {image_size}")
    try:
        return DATA_SETS.build(name, image_size=image_size, root=root, **options)
    except DataError:
        raise
    except ValueError as error:
        raise DataError(str(error)) from error
