"""Two folders of images, paired by name: each reconstruction with its own original.

A silent conversion would change numbers, so only these files are accepted: 8-bit RGB or grey, one
size, no transparency, one picture per file, stored upright. One error lists all problems. Files are
read in batches, so that sets of any size need little memory.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import UInt8
from PIL import Image, ImageFile
from torch import Tensor

from bench.data.base import existing_folder, to_tensor
from bench.data.image_files import first_lines, list_images

_ORIENTATION = 0x0112  # of EXIF; 1 is upright


class PairError(ValueError):
    """Two folders cannot be compared; the message lists the reasons."""


class ImagePairs:
    """The files of two folders, sorted by name, which is the path inside the folder.

    Extensions may differ: `a/1.jpg` pairs with `a/1.png`.

    Raises:
        PairError: a folder without images, or unequal names.
        DataError: a folder does not exist.
    """

    def __init__(self, reference: Path, reconstruction: Path) -> None:
        first = _names("reference", reference)
        second = _names("reconstruction", reconstruction)
        _refuse(
            [f"{name}: only in {reference}" for name in sorted(first.keys() - second.keys())]
            + [f"{name}: only in {reconstruction}" for name in sorted(second.keys() - first.keys())]
        )
        self._files = [
            (reference / first[name], reconstruction / second[name]) for name in sorted(first)
        ]

    def __len__(self) -> int:
        return len(self._files)

    def batches(
        self, *, pixels: int
    ) -> Iterator[tuple[UInt8[Tensor, "n 3 h w"], UInt8[Tensor, "n 3 h w"]]]:
        """Yields originals and reconstructions; holds one batch at a time.

        Args:
            pixels: of a batch of originals; exceeded by less than one image.

        Raises:
            PairError: after the last file, for all refused files. No batch follows the first of
                them.
        """
        problems: list[str] = []
        waiting: list[tuple[Tensor, Tensor]] = []
        size = None
        for files in self._files:
            pair = []
            for path in files:
                image = _read(path, problems)
                if image is None:
                    continue
                size = size or image.shape
                if image.shape != size:
                    problems.append(
                        f"{path}: {image.shape[2]} x {image.shape[1]} pixels, the first image has "
                        f"{size[2]} x {size[1]}"
                    )
                pair.append(image)
            if problems:
                continue
            waiting.append((pair[0], pair[1]))
            if len(waiting) * waiting[0][0][0].numel() >= pixels:
                yield _stacked(waiting)
                waiting.clear()
        _refuse(problems)
        if waiting:
            yield _stacked(waiting)


def _stacked(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    first, second = zip(*pairs, strict=True)
    return torch.stack(first), torch.stack(second)


def _names(role: str, folder: Path) -> dict[str, str]:
    """Maps names without extension to files."""
    files, _ = list_images(existing_folder(role, folder))
    if not files:
        raise PairError(f"{role} folder {folder} holds no image files")
    names: dict[str, str] = {}
    for file in files:
        name = Path(file).with_suffix("").as_posix()
        if name in names:
            raise PairError(f"{folder} holds both {names[name]} and {file}: names must be unique")
        names[name] = file
    return names


def _read(path: Path, problems: list[str]) -> UInt8[Tensor, "3 h w"] | None:
    """Reads one image, or adds to the problems why it is refused."""
    try:
        with Image.open(path) as image:
            refusal = _refusal(image)
            if refusal is None:
                return to_tensor(image.convert("RGB"))
    except Exception as error:  # Pillow's readers raise many types on damaged bytes
        refusal = f"not readable as an image ({error})"
    problems.append(f"{path}: {refusal}")
    return None


def _refusal(image: ImageFile.ImageFile) -> str | None:
    """Why a file is not one upright picture of 8-bit RGB or grey; None if it is."""
    if ";16" in str(image.tile):  # Pillow shows 16-bit RGB as 8-bit
        return "16-bit values; store 8-bit RGB or grey without transparency"
    if image.format == "PPM" and "ppm" in str(image.tile):  # Pillow scales any range to 8 bits
        return "values that do not end at 255; store 8-bit RGB or grey"
    if image.mode not in {"RGB", "L"} or image.has_transparency_data:
        return f"mode {image.mode}; store 8-bit RGB or grey without transparency"
    if getattr(image, "n_frames", 1) > 1:
        return f"{getattr(image, 'n_frames', 1)} pictures in one file; store one a file"
    orientation = image.getexif().get(_ORIENTATION, 1)
    if orientation != 1:
        return f"EXIF orientation {orientation}; turn the pixels upright and store them so"
    return None


def _refuse(problems: list[str]) -> None:
    if problems:
        raise PairError(
            f"the two folders cannot be compared, {len(problems)} problems:" + first_lines(problems)
        )
