"""The tune split: images to choose hyper-parameters on, so that the test judges without bias.

It is cut out of the training images, so no data set needs one of its own: evenly spaced images are
held out and judged in fixed views, and the others train. The test images play no part. A run on the
test trains on all training images again.
"""

from collections.abc import Sequence

from jaxtyping import UInt8
from torch import Tensor

from bench.data.base import DataError, ImageData, ImageSet, fingerprint

SHARE = 4  # at most one training image in four is held out
IMAGES = 512  # views to judge by


class Subset:
    """Some images of a set, each drawn as the set draws it."""

    def __init__(self, images: ImageSet, indices: Sequence[int]) -> None:
        self.images = images
        self.indices = indices

    def __len__(self) -> int:
        """Number of images."""
        return len(self.indices)

    def image(self, index: int, seed: int | None) -> UInt8[Tensor, "3 s s"]:
        """See `ImageSet.image`."""
        return self.images.image(self.indices[index], seed)


class FixedViews:
    """Views of a set's images in turn; view i is drawn with seed i, whatever seed is asked for.

    Random crops, since `photos` has few images and each holds many different views.
    """

    def __init__(self, images: ImageSet, count: int) -> None:
        self.images = images
        self.count = count

    def __len__(self) -> int:
        """Number of views."""
        return self.count

    def image(self, index: int, seed: int | None) -> UInt8[Tensor, "3 s s"]:
        """See `ImageSet.image`."""
        return self.images.image(index % len(self.images), index)


def tune_split(data: ImageData) -> ImageData:
    """The data set in which hyper-parameters are chosen; shares no test image with `data`.

    Raises:
        DataError: a single training image, so that none can be held out.
    """
    total = len(data.train)
    if total < 2:
        raise DataError(f"{data.name} has {total} training image, a tune split needs 2 or more")
    spacing = max(min(SHARE, total), total // IMAGES)
    held_out = range(spacing - 1, total, spacing)
    kept = [index for index in range(total) if index % spacing != spacing - 1]
    return ImageData(
        name=f"{data.name}-tune",
        train=Subset(data.train, kept),
        test=FixedViews(Subset(data.train, held_out), IMAGES),
        fingerprint=fingerprint(of=data.fingerprint, spacing=spacing, views=IMAGES),
        description=(
            f"tune split of {data.name}: {IMAGES} views of {len(held_out)} held-out training "
            f"images, {len(kept)} train"
        ),
    )
