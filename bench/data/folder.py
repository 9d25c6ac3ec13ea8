"""A folder of your own images: `root/train` and `root/test` (or `root/val`), or not sorted.

An unsorted folder is split by a hash of each relative path, about one image in ten for the test:
adding a file never moves another file to the other side.
"""

import hashlib
from pathlib import Path

from bench.data.base import DATA_SETS, DataError, ImageData, existing_folder, fingerprint
from bench.data.image_files import ImageFiles, check_files, files_digest, list_images

TEST_SHARE = 10  # one image in ten


@DATA_SETS.register("folder")
def load(image_size: int, root: str | None) -> ImageData:
    """Opens and checks a folder of images.

    An image smaller than `image_size` is refused; files with other extensions are ignored.
    """
    if root is None:
        raise DataError("data set 'folder' needs a folder: give data.root=FOLDER")
    folder = existing_folder("folder", Path(root).expanduser())
    listed, ignored = list_images(folder)
    train, test, rule = _split(folder, listed)
    names = train + test
    check = check_files(folder, names, min_side=image_size)
    return ImageData(
        name="folder",
        train=ImageFiles(folder, train, size=image_size, min_side=image_size),
        test=ImageFiles(folder, test, size=image_size, min_side=image_size),
        fingerprint=fingerprint(
            data="folder",
            image_size=image_size,
            split=rule,
            train=files_digest(folder, train),
            test=files_digest(folder, test),
        ),
        description=(
            f"folder {folder.resolve().name}: {len(train)} training and {len(test)} test images "
            f"of {image_size} px, {rule}; {check}; "
            f"{len(listed) - len(names) + ignored} other files ignored"
        ),
    )


def _split(folder: Path, names: list[str]) -> tuple[list[str], list[str], str]:
    """Training names, test names and the rule that split them."""
    if (folder / "train").is_dir():
        held_out = next((part for part in ("test", "val") if (folder / part).is_dir()), None)
        if held_out is None:
            raise DataError(
                f"{folder} holds train/ but neither test/ nor val/; add one, or give "
                f"data.root={folder / 'train'} to split that folder by a hash of the paths"
            )
        train = [name for name in names if name.startswith("train/")]
        test = [name for name in names if name.startswith(f"{held_out}/")]
        rule = f"split by folders train and {held_out}"
    else:
        train = [name for name in names if not _for_test(name)]
        test = [name for name in names if _for_test(name)]
        rule = f"1 in {TEST_SHARE} for the test by a hash of the path"
    if not train or not test:
        raise DataError(
            f"{folder}: {len(train)} training and {len(test)} test images ({rule}), "
            "expected at least one of each; to choose yourself, sort them into train/ and test/"
        )
    return train, test, rule


def _for_test(name: str) -> bool:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()) % TEST_SHARE == 0
