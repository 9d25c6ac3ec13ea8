"""Dead leaves: opaque discs that occlude each other, an endless supply of images of any size.

Lee, Mumford, Huang, "Occlusion Models for Natural Images", IJCV 2001: discs fall at uniform
positions, with radii of density proportional to r^-3 between two bounds; later discs occlude
earlier ones. Occlusion and scale invariance are the statistics of natural images that matter for
coding.

Deviations: a leaf has a muted colour with a linear gradient and noise (paper: one grey level). The
process stops once a pixel is covered six times on average; what is still uncovered (e^-6, 0.25 % of
the pixels) shows a background leaf. Edges are not antialiased.
"""

import hashlib
import math
import random
from dataclasses import dataclass
from typing import NamedTuple

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
GRADIENT = 40.0  # grey levels from a leaf's centre to its edge, at most
NOISE = 12.0  # standard deviation of the noise in grey levels, at most


@dataclass(frozen=True, kw_only=True)
class DeadLeaves:
    """A range of scenes as an `ImageSet`: each scene is a pure function of its number.

    Attributes:
        first: number of the scene at index 0.
        count: number of scenes.
        size: side of the images, in pixels.
    """

    first: int
    count: int
    size: int

    def __len__(self) -> int:
        return self.count

    def image(self, index: int, seed: int | None) -> UInt8[Tensor, "3 s s"]:
        """See `ImageSet.image`; a seed only flips, because there are enough scenes."""
        if not 0 <= index < self.count:
            raise IndexError(f"index {index} is outside of 0 .. {self.count - 1}")
        rng = np.random.default_rng(self.first + index)
        leaves = _drop(self.size, rng)
        scene = torch.from_numpy(_shade(_visible_leaf(self.size, leaves), leaves, rng))
        flipped = seed is not None and random.Random(seed).random() < 0.5
        return scene.flip(-1) if flipped else scene


@DATA_SETS.register("deadleaves")
def load(image_size: int, root: str | None) -> ImageData:
    """Scenes 0 .. 1023 are for the test, the next 2^20 for training; at least 16 px."""
    refuse_root("deadleaves", root)
    if image_size < MIN_IMAGE_SIZE:
        raise DataError(
            f"deadleaves draws at least {MIN_IMAGE_SIZE} px, got image_size={image_size}"
        )
    test = DeadLeaves(first=0, count=TEST_IMAGES, size=image_size)
    train = DeadLeaves(first=TEST_IMAGES, count=TRAINING_IMAGES, size=image_size)
    probe = hashlib.sha256()  # NumPy does not guarantee the same random numbers forever
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


class _Leaves(NamedTuple):
    """Radii and centres in pixels, the lowest leaf first."""

    radius: Float[np.ndarray, " n"]
    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]


def _drop(size: int, rng: np.random.Generator) -> _Leaves:
    """The leaves that touch the image.

    Centres lie up to the largest radius outside the image, so that its edge is not special.
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
    return _Leaves(radius[touches], x[touches], y[touches])


def _visible_leaf(size: int, leaves: _Leaves) -> Int[np.ndarray, "s s"]:
    """Number (from 1) of the topmost leaf at each pixel; 0 is the background.

    A leaf is only drawn inside its bounding box, so the cost follows the painted area.
    """
    radius, x, y = leaves
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
    leaf: Int[np.ndarray, "s s"], leaves: _Leaves, rng: np.random.Generator
) -> UInt8[np.ndarray, "3 s s"]:
    """Gives each leaf a colour, a gradient and a noise level; the background is leaf 0."""
    radius, x, y = leaves
    size, count = len(leaf), len(radius) + 1
    grey = rng.random(count, dtype=np.float32) * 255
    colour = grey + (rng.random((3, count), dtype=np.float32) - 0.5) * COLOURFULNESS
    angle = rng.random(count, dtype=np.float32) * (2 * math.pi)
    steepness = rng.random(count, dtype=np.float32) * GRADIENT
    roughness = rng.random(count, dtype=np.float32) * NOISE
    slope = steepness / np.concatenate([[size], radius])
    across, down = slope * np.cos(angle), slope * np.sin(angle)
    # A leaf's gradient is zero at its centre: one constant per leaf and one product per pixel.
    centre_x, centre_y = np.concatenate([[size / 2], x]), np.concatenate([[size / 2], y])
    offset = across * centre_x + down * centre_y
    column = np.arange(size, dtype=np.float32) + 0.5
    row = column[:, None]
    light = across[leaf] * column + down[leaf] * row - offset[leaf]
    light += roughness[leaf] * rng.standard_normal((size, size), dtype=np.float32)
    pixels: UInt8[np.ndarray, "3 s s"] = (colour[:, leaf] + light).clip(0, 255).round().astype("u1")
    return pixels
