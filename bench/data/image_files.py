"""Image files as an image set: lists, checks and fingerprints the files of a folder."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from bench.data.base import DataError, ImageError
from bench.data.decode import check_header, read_image, square_view

EXTENSIONS = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
MAX_DECODED = 20_000  # files decoded once before training; with more, only headers are read
MAX_HASHED = 256 * 2**20  # bytes of a data set with its content in the fingerprint
MAX_LISTED = 10  # refused files that an error names


@dataclass(frozen=True)
class ImageFiles:
    """Image files as an `ImageSet`: shorter side resized, then cropped to a square.

    Attributes:
        folder: folder of the files.
        names: paths relative to it, in the order of the set.
        size: side of the images, in pixels.
        min_side: smallest accepted side; images below `size` are enlarged.
    """

    folder: Path
    names: Sequence[str]
    size: int
    min_side: int

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int, seed: int | None) -> UInt8[Tensor, "3 s s"]:
        path = self.folder / self.names[index]
        return square_view(read_image(path, min_side=self.min_side), self.size, seed)


def list_images(folder: Path) -> tuple[list[str], int]:
    """Finds all image files below a folder by extension; follows links to folders.

    Returns:
        Their sorted paths relative to the folder, with forward slashes, and the number of other
        files: another extension, or hidden (a name that starts with ".").
    """
    names, ignored = [], 0
    for place, _, files in os.walk(folder, followlinks=True):
        for file in files:
            path = Path(place, file)
            if path.suffix.lower() in EXTENSIONS and not file.startswith("."):
                names.append(path.relative_to(folder).as_posix())
            else:
                ignored += 1
    return sorted(names), ignored


def check_files(folder: Path, names: Sequence[str], *, min_side: int) -> str:
    """Reads every file once, so that a bad one is found before training.

    Returns:
        The kind of check, for a description.

    Raises:
        DataError: one error for all refused files.
    """
    decode = len(names) <= MAX_DECODED
    check: Callable[..., object] = read_image if decode else check_header

    def refusal(name: str) -> str | None:
        try:
            check(folder / name, min_side=min_side)
        except ImageError as error:
            return str(error)
        return None

    with ThreadPoolExecutor() as pool:
        refused = [reason for reason in pool.map(refusal, names) if reason is not None]
    if refused:
        raise DataError(
            f"{len(refused)} of {len(names)} image files cannot be used; remove or repair them:"
            + first_lines(refused)
        )
    return "every file decoded" if decode else "headers checked"


def first_lines(problems: Sequence[str]) -> str:
    """The first problems and the number of the others, each on an indented line."""
    more = len(problems) - MAX_LISTED
    lines = [*problems[:MAX_LISTED], *([f"... and {more} more"] if more > 0 else [])]
    return "".join(f"\n  {line}" for line in lines)


def files_digest(folder: Path, names: Sequence[str]) -> str:
    """SHA-256 (hex) of names and sizes, and of the content up to a total of `MAX_HASHED` bytes."""
    sizes = [(folder / name).stat().st_size for name in names]
    read_content = sum(sizes) <= MAX_HASHED
    digest = hashlib.sha256()
    for name, size in zip(names, sizes, strict=True):
        digest.update(f"{name}\0{size}\0".encode())
        if read_content:
            digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()
