import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from bench.score.image_pairs import ImagePairs, PairError

SIDE = 16


@pytest.fixture
def folders(tmp_path):
    """Seven grey or coloured pairs; a reconstruction is its original but for the lowest bit."""
    rng = np.random.default_rng(0)
    for role in ("reference", "reconstruction"):
        (tmp_path / role).mkdir()
    for number in range(7):
        shape = (SIDE, SIDE) if number == 3 else (SIDE, SIDE, 3)
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"reference/{number}.png")
        Image.fromarray(pixels ^ 1).save(tmp_path / f"reconstruction/{number}.bmp")
    return tmp_path / "reference", tmp_path / "reconstruction"


def pixels_of(path):
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)


@pytest.mark.parametrize(("images", "sizes"), [(1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (100, [7])])
def test_all_pairs_come_once_in_order_of_their_names(folders, images, sizes):
    pairs = ImagePairs(*folders)
    assert len(pairs) == 7
    batches = list(pairs.batches(pixels=images * SIDE**2))
    assert [len(first) for first, _ in batches] == sizes
    first, second = (torch.cat(side) for side in zip(*batches, strict=True))
    assert torch.equal(first, torch.stack([pixels_of(folders[0] / f"{n}.png") for n in range(7)]))
    assert torch.equal(second, first ^ 1)


def test_a_batch_that_was_used_is_not_held(folders):
    alive = []
    for first, _ in ImagePairs(*folders).batches(pixels=2 * SIDE**2):
        alive = [batch for batch in alive if batch() is not None]
        assert len(alive) <= 1  # the one before this, until the loop variable is bound anew
        alive.append(weakref.ref(first))
        del first
    assert len(alive) <= 1


def test_bad_files_after_good_batches_are_all_named_at_the_end(folders):
    (folders[0] / "2.png").write_bytes(b"not a picture")
    Image.new("RGB", (SIDE, SIDE + 1)).save(folders[1] / "5.bmp")
    batches = ImagePairs(*folders).batches(pixels=SIDE**2)
    assert [len(next(batches)[0]) for _ in range(2)] == [1, 1]
    with pytest.raises(PairError, match="2 problems") as error:
        next(batches)
    assert "2.png: not readable" in str(error.value)
    assert "5.bmp: 16 x 17 pixels, the first image has 16 x 16" in str(error.value)


def test_names_are_compared_before_a_file_is_read(folders):
    (folders[0] / "2.png").write_bytes(b"not a picture")
    (folders[1] / "6.bmp").unlink()
    with pytest.raises(PairError, match="6: only in") as error:
        ImagePairs(*folders)
    assert "1 problems" in str(error.value)


def two_pictures(path, image):
    image.save(path, save_all=True, append_images=[image.rotate(90)])


def turned(path, image):
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, exif=exif)


def high_range(path, image):
    values = np.asarray(image).astype(">u2") * 257
    path.write_bytes(b"P6 16 16 65535\n" + values.tobytes())


def low_range(path, image):
    path.write_bytes(b"P6 16 16 100\n" + (np.asarray(image) // 3).tobytes())


@pytest.mark.parametrize(
    ("name", "store", "reason"),
    [
        ("2.tif", two_pictures, "2 pictures in one file"),
        ("2.png", two_pictures, "2 pictures in one file"),
        ("2.webp", two_pictures, "2 pictures in one file"),
        ("2.jpg", turned, "EXIF orientation 6"),
        ("2.png", turned, "EXIF orientation 6"),
        ("2.ppm", high_range, "values that do not end at 255"),
        ("2.ppm", low_range, "values that do not end at 255"),
        ("2.png", lambda path, image: image.convert("P").save(path), "mode P"),
        ("2.png", lambda path, image: image.save(path, transparency=(1, 2, 3)), "transparency"),
    ],
)
def test_what_pillow_would_convert_in_silence_is_refused(name, store, reason, folders):
    image = Image.open(folders[0] / "2.png").copy()
    (folders[0] / "2.png").unlink()
    store(folders[0] / name, image)
    with pytest.raises(PairError, match=reason):
        list(ImagePairs(*folders).batches(pixels=SIDE**2))


@pytest.mark.parametrize("name", ["2.ppm", "2.pgm", "2.webp", "2.jpg", "2.tif"])
def test_plain_files_of_every_format_are_read_as_they_are(name, folders):
    image = Image.open(folders[0] / "2.png").copy()
    (folders[0] / "2.png").unlink()
    image.convert("L" if name.endswith("pgm") else "RGB").save(folders[0] / name)
    first, _ = list(ImagePairs(*folders).batches(pixels=SIDE**2))[2]
    assert torch.equal(first[0], pixels_of(folders[0] / name))
