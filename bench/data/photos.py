"""Eight colour photographs from scikit-image's wheel: real images without a download.

Five are everyday scenes; the others come from a telescope, a microscope and a fundus camera.

Each photograph is first cut, at native resolution, into a vertical strip for the test and the
columns left and right of it for training. A view is cropped from one of these pieces and only then
resized, so no kernel reaches over an edge and no pixel is on both sides.

Left out of the wheel's files: grey pictures, drawings, logos, and the right half of the stereo pair
(it shows the left half's test strip).

At native scale a crop of 32 px is mostly texture, so there are also views from windows up to four
times as wide, shrunk (antialiased bicubic).

Training: index = photograph; the seed draws piece, scale (log-uniform), position and flip.
Test: windows at scales 1, 2 and 4 on a lattice of 32 source pixels, without nearly constant ones
(empty sky). No photograph gives more windows than the median photograph has: larger ones are
thinned evenly. Windows overlap in part: images from one photograph are not independent, and there
are only eight photographs.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median_low

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from bench.data.base import DATA_SETS, DataError, ImageData, fingerprint, refuse_root, to_tensor
from bench.data.decode import read_image

# File and test strip [first column, end column): the strip shows what the rest shows.
PHOTOGRAPHS = {
    "astronaut.png": (290, 450),
    "chelsea.png": (190, 334),
    "coffee.png": (300, 480),
    "hubble_deep_field.jpg": (400, 656),
    "ihc.png": (180, 340),
    "motorcycle_left.png": (330, 530),
    "retina.jpg": (250, 602),
    "rocket.jpg": (230, 420),
}
SCALES = (1, 2, 4)  # source pixels per pixel of a view
LATTICE = 32  # source pixels between neighbouring test windows
FLAT = 6.0  # standard deviation of the grey levels (0 .. 255) below which a test crop is dropped


@dataclass(frozen=True)
class Window:
    """A square window of a piece of a photograph, in pixels of the piece."""

    piece: Image.Image
    left: int
    top: int
    side: int

    def view(self, size: int) -> Image.Image:
        """Crops before resizing, so pixels outside the window have no influence."""
        box = (self.left, self.top, self.left + self.side, self.top + self.side)
        return self.piece.crop(box).resize((size, size), Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class FixedCrops:
    """The fixed test windows as an `ImageSet`; seeds are ignored."""

    windows: list[Window]
    size: int

    def __len__(self) -> int:
        return len(self.windows)

    def image(self, index: int, seed: int | None) -> UInt8[Tensor, "3 s s"]:
        return to_tensor(self.windows[index].view(self.size))


@dataclass(frozen=True)
class RandomCrops:
    """Random windows as an `ImageSet`: one index per photograph; without a seed, seed 0.

    Attributes:
        photographs: the training pieces of each photograph.
        size: side of the images, in pixels.
    """

    photographs: list[list[Image.Image]]
    size: int

    def __len__(self) -> int:
        return len(self.photographs)

    def image(self, index: int, seed: int | None) -> UInt8[Tensor, "3 s s"]:
        uniform = random.Random(seed or 0).random  # the only draw that is stable across Pythons
        piece = _pick(self.photographs[index], uniform())
        widest = min(*piece.size, SCALES[-1] * self.size)
        side = round(self.size * (widest / self.size) ** uniform())
        left = int(uniform() * (piece.width - side + 1))
        top = int(uniform() * (piece.height - side + 1))
        view = to_tensor(Window(piece, left, top, side).view(self.size))
        return view.flip(-1) if uniform() < 0.5 else view


@DATA_SETS.register("photos")
def load(image_size: int, root: str | None) -> ImageData:
    """Opens the photographs, except those with pieces smaller than the image size."""
    refuse_root("photos", root)
    training, candidates, digests = [], [], {}
    for file, strip in PHOTOGRAPHS.items():
        photograph = read_photograph(file)
        test_piece, training_pieces = _cut(photograph, strip)
        large = [piece for piece in training_pieces if min(piece.size) >= image_size]
        windows = [w for w in _lattice(test_piece, image_size) if not _is_flat(w.view(image_size))]
        if large and windows:
            training.append(large)
            candidates.append(windows)
            digests[file] = hashlib.sha256(photograph.tobytes()).hexdigest()
    if not training:
        raise DataError(
            f"photos has no photograph whose test strip holds {image_size} px: the widest has "
            f"{max(end - start for start, end in PHOTOGRAPHS.values())} px; use a smaller "
            "image_size or another data set"
        )
    windows = _balanced(candidates)
    boxes = [(window.left, window.top, window.side) for window in windows]
    return ImageData(
        name="photos",
        train=RandomCrops(training, image_size),
        test=FixedCrops(windows, image_size),
        fingerprint=fingerprint(
            data="photos", image_size=image_size, strips=PHOTOGRAPHS, pixels=digests, test=boxes
        ),
        description=(
            f"{len(training)} photographs of scikit-image cut in "
            f"disjoint pieces: random training crops, {len(windows)} fixed test crops of "
            f"{image_size} px at scales 1, 1/2 and 1/4 as far as they fit"
        ),
    )


def read_photograph(file: str) -> Image.Image:
    """Reads one photograph by path from the installed package, which is not imported.

    Raises:
        DataError: scikit-image is not installed or lacks the file.
    """
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise DataError("photos lie in the package scikit-image; install it: uv sync")
    return read_image(Path(spec.origin).parent / "data" / file, min_side=1)


def _cut(
    photograph: Image.Image, strip: tuple[int, int]
) -> tuple[Image.Image, tuple[Image.Image, Image.Image]]:
    """The test strip, and the columns left and right of it: three separate copies."""
    (start, end), (width, height) = strip, photograph.size
    left = photograph.crop((0, 0, start, height))
    right = photograph.crop((end, 0, width, height))
    return photograph.crop((start, 0, end, height)), (left, right)


def _pick(pieces: list[Image.Image], share: float) -> Image.Image:
    """The piece at this share of the total width; all have the same height."""
    column = share * sum(piece.width for piece in pieces)
    for piece in pieces:
        column -= piece.width
        if column < 0:
            return piece
    return pieces[-1]


def _balanced(candidates: list[list[Window]]) -> list[Window]:
    """Thins the windows of each photograph evenly to the median number over photographs."""
    limit = median_low([len(windows) for windows in candidates])
    balanced = []
    for windows in candidates:
        count = min(limit, len(windows))
        balanced += [windows[place * len(windows) // count] for place in range(count)]
    return balanced


def _lattice(piece: Image.Image, size: int) -> Iterator[Window]:
    for scale in SCALES:
        side = scale * size
        for top in range(0, piece.height - side + 1, LATTICE):
            for left in range(0, piece.width - side + 1, LATTICE):
                yield Window(piece, left, top, side)


def _is_flat(view: Image.Image) -> bool:
    return float(np.asarray(view.convert("L")).std()) < FLAT
