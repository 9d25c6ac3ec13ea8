"""ImageNet-1k (Russakovsky et al. 2015) as `root/train/<wnid>/*.JPEG` and `root/val/<wnid>/*.JPEG`.

Labels are not used, so a flat `val/` works too. Images smaller than the crop are enlarged, as is
usual for this data set. Deviation from torchvision's loader: EXIF orientation is applied.
"""

from bench.data.base import DATA_SETS, DataError, ImageData, find_root, fingerprint
from bench.data.image_files import ImageFiles, files_digest, list_images

PARTS = ("train", "val")


@DATA_SETS.register("imagenet")
def load(image_size: int, root: str | None) -> ImageData:
    """Lists the files of ImageNet without opening them: a bad one raises ImageError when drawn.

    `root` contains train/ and val/; None reads QUANTIZER_ZOO_DATA.
    """
    folder = find_root("imagenet", root)
    sets, digests = {}, {}
    for part in PARTS:
        names, _ = list_images(folder / part)
        if not names:
            raise DataError(
                f"ImageNet expects images in {folder.absolute() / part}/<wnid>/*.JPEG, found none; "
                f"get ILSVRC2012_img_{part}.tar from https://image-net.org and unpack it there"
            )
        sets[part] = ImageFiles(folder / part, names, size=image_size, min_side=1)
        digests[part] = files_digest(folder / part, names)
    train, test = (sets[part] for part in PARTS)
    return ImageData(
        name="imagenet",
        train=train,
        test=test,
        fingerprint=fingerprint(data="imagenet", image_size=image_size, **digests),
        description=(
            f"ImageNet: {len(train)} training and {len(test)} validation images at {image_size} "
            "px, shorter side resized (bicubic, antialiased; small images enlarged), cut square"
        ),
    )
