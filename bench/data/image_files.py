"""Image files as an image set: listing, checking and naming what a folder holds."""

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
DECODED_AT_MOST = 20_000  # files that are decoded once before training; beyond, headers only
HASHED_AT_MOST = 256 * 2**20  # bytes of a data set whose content goes into the fingerprint
LISTED_AT_MOST = 10  # refused files that an error names


@dataclass(frozen=True)
class FileListing:
    """What a folder holds.

    Attributes:
        names: image files, sorted paths relative to the folder, with forward slashes.
        ignored: number of other files: another extension, or hidden (a name that starts with ".").
    """

    names: list[str]
    ignored: int


class ImageFiles:
    """Image files as an `ImageSet`: shorter side resized, then cut square.

    Args:
        folder: where the files lie.
        names: paths relative to it; their order is the order of the set.
        size: side of the images, in pixels.
        smallest_side: shortest side accepted; anything below `size` is enlarged.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], *, size: int, smallest_side: int
    ) -> None:
        self.folder = folder
        self.names = names
        self.size = size
        self.smallest_side = smallest_side

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)

    def image(self, index: int, seed: int | None) -> UInt8[Tensor, "3 s s"]:
        """See `ImageSet.image`."""
        path = self.folder / self.names[index]
        return square_view(read_image(path, smallest_side=self.smallest_side), self.size, seed)


def list_images(folder: Path) -> FileListing:
    """Finds all image files below a folder by extension; follows links to folders."""
    names, ignored = [], 0
    for place, _, files in os.walk(folder, followlinks=True):
        for file in files:
            path = Path(place, file)
            if path.suffix.lower() in EXTENSIONS and not file.startswith("."):
                names.append(path.relative_to(folder).as_posix())
            else:
                ignored += 1
    return FileListing(sorted(names), ignored)


def check_files(folder: Path, names: Sequence[str], *, smallest_side: int) -> str:
    """Looks at every file once, so that a bad one is met before training.

    Returns:
        How closely was looked, for a description.

    Raises:
        DataError: one error for all refused files.
    """
    decode = len(names) <= DECODED_AT_MOST
    check: Callable[..., object] = read_image if decode else check_header

    def refusal(name: str) -> str | None:
        try:
            check(folder / name, smallest_side=smallest_side)
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
    """The first problems, each on an indented line of its own, and how many more there are."""
    more = len(problems) - LISTED_AT_MOST
    lines = [*problems[:LISTED_AT_MOST], *([f"... and {more} more"] if more > 0 else [])]
    return "".join(f"\n  {line}" for line in lines)


def files_digest(folder: Path, names: Sequence[str]) -> str:
    """SHA-256 (hex) of names and sizes, and of the content too if the files are few bytes."""
    sizes = [(folder / name).stat().st_size for name in names]
    read_content = sum(sizes) <= HASHED_AT_MOST
    digest = hashlib.sha256()
    for name, size in zip(names, sizes, strict=True):
        digest.update(f"{name}\0{size}\0".encode())
        if read_content:
            digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()
