"""Dead leaves: opaque discs that hide one another, an endless supply of images at any size.

Lee, Mumford, Huang, "Occlusion Models for Natural Images", IJCV 2001: discs fall at uniform places
with radii of density proportional to r^-3 between two bounds, and later ones occlude earlier ones.
Occlusion and scale invariance are the statistics of natural images that matter for coding.

Deviations: leaves are muted colours with a linear gradient and noise, where the paper draws one
grey level each. The process stops once a pixel is covered six times on average, on a background
leaf (a share of e^-6, 0.25 % of the pixels). Edges are not antialiased.
"""

import hashlib
import math
import random

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from bench.data.base import DATA_SETS, DataError, ImageData, fingerprint, refuse_root

TEST_IMAGES = 1024
TRAINING_IMAGES = 2**20
MIN_IMAGE_SIZE = 16  # pixels: radii span a factor of two
COVERINGS = 6.0  # mean number of leaves over a pixel
SMALLEST_RADIUS = 4.0  # pixels; the largest is half the side of the image
COLOURFULNESS = 100.0  # range of each channel around a leaf's grey level
GRADIENT = 40.0  # most grey levels from a leaf's centre to its edge
NOISE = 12.0  # most grey levels of noise, standard deviation


class DeadLeaves:
    """A range of scenes as an `ImageSet`: each scene is a pure function of its number.

    Args:
        first: number of the scene at index 0.
        count: scenes in the set.
        size: side of the images, in pixels.
    """

    def __init__(self, *, first: int, count: int, size: int) -> None:
        self.first = first
        self.count = count
        self.size = size

    def __len__(self) -> int:
        """Number of images."""
        return self.count

    def image(self, index: int, seed: int | None) -> UInt8[Tensor, "3 s s"]:
        """See `ImageSet.image`; a seed only flips, for there is no lack of other scenes."""
        if not 0 <= index < self.count:
            raise IndexError(f"index {index} is outside of 0 .. {self.count - 1}")
        scene = torch.from_numpy(paint(self.size, np.random.default_rng(self.first + index)))
        flipped = seed is not None and random.Random(seed).random() < 0.5
        return scene.flip(-1) if flipped else scene


@DATA_SETS.register("deadleaves")
def load(image_size: int, root: str | None) -> ImageData:
    """Scenes 0 .. 1023 are the test, the next 2^20 are for training.

    Args:
        image_size: side of the images, in pixels, at least 16.
        root: must be None: there are no files.

    Raises:
        DataError: the size is too small, or a folder is given.
    """
    refuse_root("deadleaves", root)
    if image_size < MIN_IMAGE_SIZE:
        raise DataError(
            f"deadleaves draws at least {MIN_IMAGE_SIZE} px, got image_size={image_size}"
        )
    test = DeadLeaves(first=0, count=TEST_IMAGES, size=image_size)
    train = DeadLeaves(first=TEST_IMAGES, count=TRAINING_IMAGES, size=image_size)
    probe = hashlib.sha256()  # NumPy does not promise the same random numbers for ever
    for index in range(4):
        probe.update(test.image(index, None).numpy().tobytes())
    return ImageData(
        name="deadleaves",
        train=train,
        test=test,
        fingerprint=fingerprint(
            data="deadleaves",
            image_size=image_size,
            test=TEST_IMAGES,
            train=TRAINING_IMAGES,
            probe=probe.hexdigest(),
        ),
        description=(
            f"dead leaves (Lee, Mumford, Huang 2001), procedural: {TRAINING_IMAGES} training and "
            f"{TEST_IMAGES} test scenes of {image_size} px"
        ),
    )


def paint(size: int, rng: np.random.Generator) -> UInt8[np.ndarray, "3 s s"]:
    """Draws one scene."""
    radius, x, y = _drop(size, rng)
    leaf = _visible_leaf(size, radius, x, y)
    return _shade(size, leaf, radius, x, y, rng)


def _drop(size: int, rng: np.random.Generator) -> tuple[Float[np.ndarray, " n"], ...]:
    """Radii and centres of the leaves that touch the image, the lowest leaf first.

    Centres lie up to the largest radius outside, so that the edge of the image is not special.
    """
    smallest, largest = SMALLEST_RADIUS, size / 2
    inner, outer = smallest**-2, largest**-2
    mean_area = 2 * math.pi * math.log(largest / smallest) / (inner - outer)
    field = size + 2 * largest
    count = round(COVERINGS * field**2 / mean_area)
    draws = rng.random((3, count), dtype=np.float32)
    radius = (inner - draws[0] * (inner - outer)) ** -0.5  # inverse of the distribution function
    x, y = draws[1:] * field - largest
    distance_x = np.maximum(np.abs(x - size / 2) - size / 2, 0)
    distance_y = np.maximum(np.abs(y - size / 2) - size / 2, 0)
    touches = distance_x**2 + distance_y**2 < radius**2
    return radius[touches], x[touches], y[touches]


def _visible_leaf(
    size: int,
    radius: Float[np.ndarray, " n"],
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
) -> Int[np.ndarray, "s s"]:
    """Number (from 1) of the topmost leaf over each pixel; 0 is the background.

    Each leaf is drawn inside its bounding box, so the cost follows the painted area.
    """
    leaf = np.zeros((size, size), dtype=np.int32)
    centres = np.arange(size, dtype=np.float32) + 0.5
    squared_x = (centres - x[:, None]) ** 2
    squared_y = (centres - y[:, None])[:, :, None] ** 2
    low = np.stack([y - radius, x - radius]).clip(0, size).astype(int).T.tolist()
    high = np.stack([y + radius, x + radius]).clip(-1, size).astype(int).T.tolist()
    for number, ((top, left), (bottom, right)) in enumerate(zip(low, high, strict=True)):
        box = slice(top, bottom + 1), slice(left, right + 1)
        distance = squared_y[number, box[0]] + squared_x[number, box[1]]
        leaf[box][distance < radius[number] ** 2] = number + 1
    return leaf


def _shade(
    size: int,
    leaf: Int[np.ndarray, "s s"],
    radius: Float[np.ndarray, " n"],
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "3 s s"]:
    """Gives each leaf a colour, a gradient and a noise level; the background is leaf 0."""
    count = len(radius) + 1
    grey = rng.random(count, dtype=np.float32) * 255
    colour = grey + (rng.random((3, count), dtype=np.float32) - 0.5) * COLOURFULNESS
    angle = rng.random(count, dtype=np.float32) * (2 * math.pi)
    steepness = rng.random(count, dtype=np.float32) * GRADIENT
    roughness = rng.random(count, dtype=np.float32) * NOISE
    slope = steepness / np.concatenate([[size], radius])
    across, down = slope * np.cos(angle), slope * np.sin(angle)
    # The gradient of a leaf is zero at its centre: one constant a leaf and one product a pixel.
    centre_x, centre_y = np.concatenate([[size / 2], x]), np.concatenate([[size / 2], y])
    offset = across * centre_x + down * centre_y
    column = np.arange(size, dtype=np.float32) + 0.5
    row = column[:, None]
    light = across[leaf] * column + down[leaf] * row - offset[leaf]
    light += roughness[leaf] * rng.standard_normal((size, size), dtype=np.float32)
    pixels: UInt8[np.ndarray, "3 s s"] = (colour[:, leaf] + light).clip(0, 255).round().astype("u1")
    return pixels
