"""Two folders of images, paired by name: each reconstruction with its own original.

Strict, since a silent conversion moves numbers: 8-bit RGB or grey only, one size, no transparency.
Everything that is wrong is collected and named at once.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from bench.data.base import existing_folder
from bench.data.files import first_lines, list_images

_MODES = ("RGB", "L")


class PairError(ValueError):
    """Two folders cannot be compared; the message lists why."""


def read_pairs(
    reference: Path, reconstruction: Path
) -> tuple[UInt8[Tensor, "n 3 h w"], UInt8[Tensor, "n 3 h w"], list[str]]:
    """Reads both folders in order of the names, which are paths below each folder.

    Names must agree up to the extension: `a/1.jpg` pairs with `a/1.png`.

    Returns:
        Originals, reconstructions, and the names without extensions.

    Raises:
        PairError: unequal names, a file that is refused, or more than one size.
        DataError: a folder does not exist.
    """
    first, second = _names("reference", reference), _names("reconstruction", reconstruction)
    _refuse(
        [f"{name}: only in {reference}" for name in sorted(first.keys() - second.keys())]
        + [f"{name}: only in {reconstruction}" for name in sorted(second.keys() - first.keys())]
    )
    names = sorted(first)
    problems: list[str] = []
    stacks = []
    for folder, files in ((reference, first), (reconstruction, second)):
        read = [_read(folder / files[name], problems) for name in names]
        stacks.append([image for image in read if image is not None])
    _refuse(problems)
    size = stacks[0][0].shape
    for folder, images in zip((reference, reconstruction), stacks, strict=True):
        problems += [
            f"{folder / name}: {image.shape[2]} x {image.shape[1]} pixels, the first image has "
            f"{size[2]} x {size[1]}"
            for name, image in zip(names, images, strict=True)
            if image.shape != size
        ]
    _refuse(problems)
    return torch.stack(stacks[0]), torch.stack(stacks[1]), names


def _names(role: str, folder: Path) -> dict[str, str]:
    """File by name without extension."""
    files = list_images(existing_folder(role, folder)).names
    if not files:
        raise PairError(f"{role} folder {folder} holds no image files")
    found: dict[str, str] = {}
    for file in files:
        name = Path(file).with_suffix("").as_posix()
        if name in found:
            raise PairError(f"{folder} holds both {found[name]} and {file}: names must be unique")
        found[name] = file
    return found


def _read(path: Path, problems: list[str]) -> UInt8[Tensor, "3 h w"] | None:
    """One image; a reason to refuse it goes to the list of problems instead."""
    try:
        with Image.open(path) as image:
            sixteen_bit = ";16" in str(image.tile)  # Pillow shows 16-bit RGB as 8-bit
            if sixteen_bit or image.mode not in _MODES or image.has_transparency_data:
                kind = "16-bit values" if sixteen_bit else f"mode {image.mode}"
                problems.append(f"{path}: {kind}; store 8-bit RGB or grey without transparency")
                return None
            pixels = np.array(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        problems.append(f"{path}: not readable as an image ({error})")
        return None
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _refuse(problems: list[str]) -> None:
    if problems:
        raise PairError(
            f"the two folders cannot be compared, {len(problems)} problems:" + first_lines(problems)
        )
