"""Decodes a file to an RGB image: every format is converted or refused with its path.

Converted: EXIF orientation is applied; grey, palette, CMYK and YCbCr become RGB; 16-bit grey is
divided by 256 (Pillow would clip it at 255); transparency is composited over white; an animation
gives its first frame. Refused: a file that is not an image, is empty or truncated, has pixels of
unknown range, is a decompression bomb in Pillow's terms, or is smaller than the crop.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from bench.data.base import ImageError, to_tensor


def read_image(path: Path, *, min_side: int) -> Image.Image:
    """Decodes a file to an upright RGB image.

    Raises:
        ImageError: the file is refused, or a side has fewer than `min_side` pixels.
    """
    with _opened(path, min_side) as image:
        return _to_rgb(ImageOps.exif_transpose(image))


def check_header(path: Path, *, min_side: int) -> None:
    """Raises ImageError if the file's header is enough to refuse it; decodes no pixel."""
    with _opened(path, min_side):
        pass


def _to_rgb(image: Image.Image) -> Image.Image:
    """Converts any mode of Pillow to RGB.

    Raises:
        ValueError: the range of the pixels is unknown (float, or integers beyond 16 bits).
    """
    if image.mode.startswith("I"):  # mode I has 32 bits, but Pillow opens 16-bit files in it too
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise ValueError(
                "integer pixels beyond 16 bits have no known range; store 8 or 16 bits"
            )
        return Image.fromarray((grey >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range; store 8 or 16 bits")
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    return image.convert("RGB")


def square_view(image: Image.Image, size: int, seed: int | None) -> UInt8[Tensor, "3 s s"]:
    """Resizes the shorter side to `size` (antialiased bicubic) and crops a square.

    Args:
        image: RGB, any size.
        size: side of the view, in pixels.
        seed: draws the position along the longer side and a horizontal flip; None crops the
            centre.
    """
    ratio = size / min(image.size)
    width, height = (max(size, round(side * ratio)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    across, down, flipped = 0.5, 0.5, False
    if seed is not None:
        generator = random.Random(seed)
        across, down = generator.random(), generator.random()
        flipped = generator.random() < 0.5
    left = int(across * (width - size + 1))
    top = int(down * (height - size + 1))
    view = to_tensor(image.crop((left, top, left + size, top + size)))
    return view.flip(-1) if flipped else view


@contextmanager
def _opened(path: Path, min_side: int) -> Iterator[Image.Image]:
    """Opens an image and checks its header; any error inside becomes an ImageError."""
    try:
        with Image.open(path) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise ImageError(path, f"{_size(image)} exceeds Pillow's limit of {limit} pixels")
            if min(image.size) < min_side:
                raise ImageError(
                    path, f"{_size(image)} is smaller than the crop of {min_side} pixels"
                )
            yield image
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(path, "does not exist") from error
    except UnidentifiedImageError as error:
        empty = path.stat().st_size == 0
        raise ImageError(path, "is empty (0 bytes)" if empty else "is not an image") from error
    except Exception as error:  # Pillow's readers raise about ten types on damaged bytes
        raise ImageError(path, f"cannot be decoded ({error})") from error


def _size(image: Image.Image) -> str:
    return f"{image.width} x {image.height}"
