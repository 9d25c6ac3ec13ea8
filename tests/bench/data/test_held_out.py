import pytest
import torch

from bench.data import DataError, ImageData, test_images
from bench.data.held_out import IMAGES, tune_split


class Numbered:
    """Images whose first pixel is their index and whose second is the seed, modulo 256."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def image(self, index, seed):
        image = torch.zeros(3, 2, 2, dtype=torch.uint8)
        image[:, 0, 0] = index % 256
        image[:, 0, 1] = (seed or 0) % 256
        return image


def data(count):
    train, test = Numbered(count), Numbered(3)
    return ImageData(name="n", train=train, test=test, fingerprint=f"{count}", description="")


def first_pixels(images):
    return [int(images.image(index, None)[0, 0, 0]) for index in range(len(images))]


@pytest.mark.parametrize("count", [2, 3, 8, 57, 200])
def test_no_image_is_on_both_sides_and_none_is_lost(count):
    split = tune_split(data(count))
    train, tune = set(first_pixels(split.train)), set(first_pixels(split.test))
    assert not train & tune
    assert train | tune == set(range(count))


def test_large_sets_give_one_view_of_each_held_out_image():
    split = tune_split(data(100_000))
    assert len(split.test) == IMAGES
    assert len(split.train) > 0.99 * 100_000


def test_views_of_one_image_differ_and_ignore_the_seed():
    tune = tune_split(data(8)).test
    views = test_images(tune)
    assert len(tune) == len(views) == IMAGES
    assert len(torch.unique(views.flatten(1), dim=0)) > IMAGES // 3
    assert torch.equal(tune.image(5, None), tune.image(5, 77))


def test_training_images_are_drawn_as_in_the_whole_set():
    split = tune_split(data(8))
    assert torch.equal(split.train.image(2, 9), data(8).train.image(2, 9))


def test_the_fingerprint_differs_from_the_data_and_follows_it():
    sets = data(8), tune_split(data(8)), tune_split(data(9))
    assert len({images.fingerprint for images in sets}) == 3


def test_one_training_image_cannot_be_split():
    with pytest.raises(DataError, match="1 training image"):
        tune_split(data(1))
