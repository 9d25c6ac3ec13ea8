"""Coordinate images prove the geometry: photographs with the number of a pixel as its value."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from bench.data import DataError, load_data, photos, test_images, training_batches

TRAINING_VIEWS = 300  # of each photograph, in the proof


@pytest.fixture(scope="module")
def originals():
    return {file: photos.read_photograph(file) for file in photos.PHOTOGRAPHS}


def numbered(photograph):
    """An image of the same size in which each pixel holds its number."""
    numbers = np.arange(photograph.width * photograph.height, dtype=np.int32)
    return Image.fromarray(numbers.reshape(photograph.size[::-1]))


@pytest.fixture
def pixels_seen(monkeypatch, originals):
    """A function: the pixels of a photograph that are in test views, and in training views."""

    def see(file, size):
        coordinates = numbered(originals[file])
        view = photos.Window.view
        seen = np.zeros(coordinates.width * coordinates.height, dtype=bool)

        def record(window, size):
            # The resizing kernel only gets the window's own square, here unscaled.
            seen[np.asarray(view(window, window.side))] = True
            return Image.new("RGB", (size, size))

        monkeypatch.setattr(photos, "PHOTOGRAPHS", {file: photos.PHOTOGRAPHS[file]})
        monkeypatch.setattr(photos, "read_photograph", lambda _: coordinates)
        monkeypatch.setattr(photos, "_is_flat", lambda _: False)
        monkeypatch.setattr(photos.Window, "view", record)
        data = photos.load(size, None)
        seen[:] = False
        for index in range(len(data.test)):
            data.test.image(index, None)
        by_test = seen.copy()
        seen[:] = False
        for seed in range(TRAINING_VIEWS):
            data.train.image(0, seed)
        return by_test, seen

    return see


@pytest.mark.parametrize("size", [32, 128])
@pytest.mark.parametrize("file", sorted(photos.PHOTOGRAPHS))
def test_no_pixel_is_in_a_test_view_and_in_a_training_view(pixels_seen, originals, file, size):
    by_test, by_training = pixels_seen(file, size)
    assert not (by_test & by_training).any()
    assert by_test.mean() > 0.15  # the proof is not empty
    assert by_training.mean() > 0.3


def test_the_pieces_are_a_partition(originals):
    for file, strip in photos.PHOTOGRAPHS.items():
        test, training = photos._cut(numbered(originals[file]), strip)
        pixels = np.concatenate([np.asarray(piece).ravel() for piece in (test, *training)])
        assert (np.bincount(pixels) == 1).all()
        assert len(pixels) == originals[file].width * originals[file].height


@pytest.mark.parametrize("size", [32, 128])
def test_changing_every_test_pixel_changes_no_training_view(monkeypatch, originals, size):
    """End to end, with resizing: no kernel reaches over an edge, on either side."""

    def repaint(keep_strip):
        painted = {}
        for file, (start, end) in photos.PHOTOGRAPHS.items():
            pixels = np.array(originals[file])
            inside = np.zeros(pixels.shape[1], dtype=bool)
            inside[start:end] = True
            pixels[:, inside != keep_strip] ^= 255
            painted[file] = Image.fromarray(pixels)
        return painted

    def load(photographs):
        monkeypatch.setattr(photos, "read_photograph", photographs.__getitem__)
        return photos.load(size, None)

    def drawn(data):
        batch = training_batches(
            data.train, batch_size=96, start_step=0, stop_step=1, data_seed=0, augment_seed=0
        )
        return next(batch).images

    data = load(originals)
    strip_changed, rest_changed = load(repaint(keep_strip=False)), load(repaint(keep_strip=True))
    assert torch.equal(drawn(strip_changed), drawn(data))
    assert not torch.equal(drawn(rest_changed), drawn(data))
    assert torch.equal(test_images(rest_changed.test), test_images(data.test))
    assert not torch.equal(test_images(strip_changed.test), test_images(data.test))


def test_about_a_thousand_test_crops_balanced_over_eight_photographs():
    windows = photos.load(32, None).test.windows
    shares = Counter(id(window.piece) for window in windows)
    assert 900 <= len(windows) <= 1100
    assert len(shares) == 8
    assert max(shares.values()) <= 0.16 * len(windows)


@pytest.mark.parametrize(("size", "photographs"), [(32, 8), (64, 8), (128, 8), (256, 2)])
def test_sizes_of_the_recipes_are_served(size, photographs):
    data = photos.load(size, None)
    assert len(data.train) == photographs
    assert data.train.image(0, 3).shape == data.test.image(0, None).shape == (3, size, size)
    assert str(len(data.test)) in data.description


def test_no_test_crop_is_nearly_constant():
    images = test_images(photos.load(32, None).test).float().flatten(2)
    luma = torch.einsum("ncp,c->np", images, torch.tensor([0.299, 0.587, 0.114]))
    assert luma.std(dim=1).min() > photos.FLAT - 0.1  # the rule rounds the luma first


def test_test_views_ignore_seeds():
    test = photos.load(32, None).test
    assert torch.equal(test.image(5, None), test.image(5, 1))


def test_training_seeds_draw_scale_and_place(monkeypatch):
    sides = []
    view = photos.Window.view
    record = lambda window, size: sides.append(window.side) or view(window, size)  # noqa: E731
    monkeypatch.setattr(photos.Window, "view", record)
    train = photos.RandomCrops([[Image.new("RGB", (200, 150))]], size=32)
    for seed in range(500):
        train.image(0, seed)
    assert min(sides) <= 33
    assert max(sides) >= 126
    assert max(sides) <= 128
    assert sum(side < 64 for side in sides) == pytest.approx(250, abs=50)  # log-uniform


def test_half_of_the_training_views_are_flipped():
    ramp = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (150, 1, 3))
    train = photos.RandomCrops([[Image.fromarray(ramp)]], size=32)
    views = [train.image(0, seed)[0, 0] for seed in range(400)]
    flips = sum(bool(view[0] > view[-1]) for view in views)
    assert flips == pytest.approx(200, abs=40)


def test_pieces_are_drawn_by_width():
    narrow, wide = Image.new("RGB", (50, 100), "black"), Image.new("RGB", (150, 100), "white")
    train = photos.RandomCrops([[narrow, wide]], size=32)
    white = sum(int(train.image(0, seed)[0, 0, 0] > 0) for seed in range(400))
    assert white == pytest.approx(300, abs=40)


def test_a_size_beyond_every_strip_is_refused():
    with pytest.raises(DataError, match="test strip holds 400 px: the widest has 352 px"):
        photos.load(400, None)


def test_a_missing_file_is_named(monkeypatch):
    monkeypatch.setattr(photos, "PHOTOGRAPHS", {"absent.png": (10, 20)})
    with pytest.raises(DataError, match=r"absent\.png: does not exist"):
        photos.load(32, None)


def test_the_fingerprint_follows_pixels_size_and_split(monkeypatch, originals):
    base = photos.load(32, None).fingerprint
    assert photos.load(32, None).fingerprint == base
    assert photos.load(64, None).fingerprint != base
    monkeypatch.setitem(photos.PHOTOGRAPHS, "rocket.jpg", (231, 420))
    assert photos.load(32, None).fingerprint != base
    monkeypatch.undo()
    changed = dict(originals)
    changed["rocket.jpg"] = originals["rocket.jpg"].copy()
    changed["rocket.jpg"].putpixel((0, 0), (1, 2, 3))
    monkeypatch.setattr(photos, "read_photograph", changed.__getitem__)
    assert photos.load(32, None).fingerprint != base


def test_a_folder_is_refused():
    with pytest.raises(DataError, match="reads no folder"):
        load_data("photos", image_size=32, root="somewhere")
