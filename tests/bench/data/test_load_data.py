from dataclasses import replace

import pytest

from bench.data import DATA_SETS, DataError, ImageData, load_data
from bench.data.held_out import Subset


@pytest.mark.parametrize("name", ["folder", "imagenet", "cifar10"])
def test_a_missing_folder_is_named(tmp_path, name):
    root = tmp_path / "absent"
    with pytest.raises(DataError, match=f"expects the folder {root}: found nothing"):
        load_data(name, image_size=32, root=str(root))


@pytest.mark.parametrize("name", ["folder", "imagenet", "cifar10"])
def test_without_a_folder_the_error_says_what_to_type(monkeypatch, name):
    monkeypatch.delenv("QUANTIZER_ZOO_DATA", raising=False)
    with pytest.raises(DataError, match=r"data\.root=FOLDER"):
        load_data(name, image_size=32)


@pytest.mark.parametrize("name", ["imagenet", "cifar10"])
def test_the_environment_names_the_folder_of_all_data_sets(monkeypatch, tmp_path, name):
    monkeypatch.setenv("QUANTIZER_ZOO_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"expects the folder {tmp_path / name}"):
        load_data(name, image_size=32)


def test_an_unknown_data_set_lists_the_known_and_the_nearest():
    with pytest.raises(DataError, match=r"known: cifar10, deadleaves, .*did you mean 'photos'"):
        load_data("fotos", image_size=32)


def test_a_size_of_zero_is_refused():
    with pytest.raises(DataError, match="positive number of pixels, got 0"):
        load_data("photos", image_size=0)


@pytest.mark.parametrize("name", ["photos", "deadleaves"])
def test_a_folder_is_refused_where_none_is_read(name):
    with pytest.raises(DataError, match="reads no folder, got"):
        load_data(name, image_size=32, root="somewhere")


def test_a_plugin_adds_a_data_set_with_an_option(register):
    @register(DATA_SETS, "few")
    def load(image_size: int, root: str | None, *, count: int = 8) -> ImageData:
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        leaves = load_data("deadleaves", image_size=image_size)
        return replace(leaves, train=Subset(leaves.train, range(count)), description=str(root))

    data = load_data("few", image_size=16, root="somewhere", count=3)
    assert (len(data.train), data.description) == (3, "somewhere")
    with pytest.raises(DataError, match="known: count; did you mean 'count'"):
        load_data("few", image_size=16, cuont=3)
    with pytest.raises(DataError, match="at least 1, got 0"):
        load_data("few", image_size=16, count=0)
