import numpy as np
import pytest
import torch

from bench.data import DataError, deadleaves, load_data, test_images


@pytest.fixture(scope="module")
def data():
    return load_data("deadleaves", image_size=32)


@pytest.fixture(scope="module")
def test_scenes(data):
    return test_images(data.test)


@pytest.mark.parametrize("size", [16, 33, 128])
def test_any_size_is_drawn(size):
    image = load_data("deadleaves", image_size=size).train.image(0, None)
    assert image.shape == (3, size, size)
    assert image.dtype == torch.uint8


def test_an_index_is_a_scene(data):
    assert torch.equal(data.train.image(7, None), data.train.image(7, None))
    assert not torch.equal(data.train.image(7, None), data.train.image(8, None))


def test_training_and_test_scenes_are_disjoint(data, test_scenes):
    test = {image.numpy().tobytes() for image in test_scenes}
    train = {data.train.image(index, None).numpy().tobytes() for index in range(100)}
    assert len(test) == len(data.test) == 1024
    assert not test & train
    assert data.test.first + len(data.test) <= data.train.first


def test_a_seed_flips_half_of_the_images(data):
    image = data.train.image(0, None)
    flips = 0
    for seed in range(100):
        drawn = data.train.image(0, seed)
        flips += torch.equal(drawn, image.flip(-1))
        assert torch.equal(drawn, image) or torch.equal(drawn, image.flip(-1))
    assert 30 <= flips <= 70


def test_radii_follow_the_inverse_cube():
    """The density r^-3 makes 1 / r^2 uniform between its bounds, for leaves inside the field."""
    size = 2048  # nearly all leaves touch the image, so the selection hardly favours large ones
    radius, _, _ = deadleaves._drop(size, np.random.default_rng(0))
    small = radius[radius < 40]  # 99 % of all
    position = (4.0**-2 - small.astype(float) ** -2) / (4.0**-2 - 40.0**-2)
    quantiles = np.quantile(position, [0.1, 0.25, 0.5, 0.75, 0.9])
    np.testing.assert_allclose(quantiles, [0.1, 0.25, 0.5, 0.75, 0.9], atol=0.02)
    assert radius.min() >= 4.0 * (1 - 1e-6)
    assert radius.max() <= size / 2


def test_a_pixel_is_covered_six_times_on_average():
    counts = []
    for seed in range(200):
        radius, x, y = deadleaves._drop(64, np.random.default_rng(seed))
        counts.append(((x - 20) ** 2 + (y - 50) ** 2 < radius**2).sum())
    assert np.mean(counts) == pytest.approx(6.0, abs=0.6)


def test_later_leaves_hide_earlier_ones():
    """Against the definition: for every pixel, the last disc that contains its centre."""
    leaves = deadleaves._drop(32, np.random.default_rng(3))
    radius, x, y = (column[:, None, None] for column in leaves)
    centre = np.arange(32, dtype=np.float32) + 0.5
    inside = (centre - x) ** 2 + (centre[:, None] - y) ** 2 < radius**2
    number = np.arange(1, len(radius) + 1)[:, None, None]
    expected = (inside * number).max(axis=0)
    assert np.array_equal(deadleaves._visible_leaf(32, leaves), expected)


def test_leaves_have_gradients_around_their_own_centres_and_noise(monkeypatch):
    monkeypatch.setattr(deadleaves, "NOISE", 0.0)
    monkeypatch.setattr(deadleaves, "COLOURFULNESS", 0.0)
    leaf = np.ones((64, 64), dtype=np.int32)
    half = np.array([32.0], dtype=np.float32)

    def shade(seed):
        leaves = deadleaves._Leaves(half, half, half)
        return deadleaves._shade(leaf, leaves, np.random.default_rng(seed))

    plane = shade(1)[0].astype(float)
    assert np.ptp(plane) > 5  # it is not flat
    assert abs(np.diff(plane, n=2, axis=0)).max() <= 2  # it is a plane, up to rounding
    grey = np.random.default_rng(1).random(2, dtype=np.float32)[1] * 255
    assert plane[31:33, 31:33].mean() == pytest.approx(grey, abs=1)  # the leaf's own colour
    monkeypatch.setattr(deadleaves, "NOISE", 12.0)
    assert abs(np.diff(shade(1)[0].astype(float), n=2, axis=0)).max() > 5


def test_channels_are_correlated_as_in_photographs(test_scenes):
    pixels = test_scenes[:200].float().transpose(0, 1).reshape(3, -1)
    assert 0.6 < torch.corrcoef(pixels)[0, 1] < 0.95


def test_an_index_outside_is_refused(data):
    with pytest.raises(IndexError, match=r"index 1024 is outside of 0 \.\. 1023"):
        data.test.image(1024, None)


def test_the_global_generator_is_left_alone(data):
    before = str(np.random.get_state())  # noqa: NPY002
    data.train.image(0, 1)
    assert str(np.random.get_state()) == before  # noqa: NPY002


def test_the_fingerprint_follows_size_and_pixels(monkeypatch, data):
    assert load_data("deadleaves", image_size=32).fingerprint == data.fingerprint
    assert load_data("deadleaves", image_size=64).fingerprint != data.fingerprint
    monkeypatch.setattr(deadleaves, "GRADIENT", 41.0)
    assert load_data("deadleaves", image_size=32).fingerprint != data.fingerprint


def test_sizes_without_room_for_leaves_are_refused():
    with pytest.raises(DataError, match="at least 16 px, got image_size=8"):
        load_data("deadleaves", image_size=8)


def test_a_folder_is_refused():
    with pytest.raises(DataError, match="reads no folder"):
        load_data("deadleaves", image_size=32, root="somewhere")
