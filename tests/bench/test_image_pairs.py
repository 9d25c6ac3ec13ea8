import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from bench.image_pairs import ImagePairs, PairError

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
