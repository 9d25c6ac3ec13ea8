"""The tune split: images to choose hyper-parameters on, so that the test stays unbiased.

It comes from the training images, so a data set need not provide one: evenly spaced images are held
out and judged in fixed views, the others train. The test images are not used. A run on the test
trains on all training images again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import UInt8
from torch import Tensor

from bench.data.base import DataError, ImageData, ImageSet, fingerprint

SHARE = 4  # at most one training image in four is held out
IMAGES = 512  # views to judge by


@dataclass(frozen=True)
class Subset:
    """A subset of an image set, each image drawn as the set draws it."""

    images: ImageSet
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, index: int, seed: int | None) -> UInt8[Tensor, "3 s s"]:
        return self.images.image(self.indices[index], seed)


@dataclass(frozen=True)
class FixedViews:
    """Views of a set's images in turn; view i is always drawn with seed i.

    They are random crops, because `photos` has few images, each with many different views.
    """

    images: ImageSet
    count: int

    def __len__(self) -> int:
        return self.count

    def image(self, index: int, seed: int | None) -> UInt8[Tensor, "3 s s"]:
        return self.images.image(index % len(self.images), index)


def tune_split(data: ImageData) -> ImageData:
    """The data set to choose hyper-parameters on; uses no test image of `data`.

    Raises:
        DataError: fewer than two training images, so none can be held out.
    """
    total = len(data.train)
    if total < 2:
        raise DataError(f"{data.name} has {total} training image, a tune split needs 2 or more")
    spacing = max(min(SHARE, total), total // IMAGES)
    held_out = range(spacing - 1, total, spacing)
    train = [index for index in range(total) if index % spacing != spacing - 1]
    return ImageData(
        name=f"{data.name}-tune",
        train=Subset(data.train, train),
        test=FixedViews(Subset(data.train, held_out), IMAGES),
        fingerprint=fingerprint(of=data.fingerprint, spacing=spacing, views=IMAGES),
        description=(
            f"tune split of {data.name}: {IMAGES} views of {len(held_out)} held-out training "
            f"images, {len(train)} train"
        ),
    )
