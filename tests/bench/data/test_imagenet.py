import pytest

from bench.data import DataError, load_data, test_images


def test_imagenet_lists_both_parts_and_enlarges_small_images(tmp_path, write):
    write(tmp_path, "train/n01/a.JPEG", "train/n02/b.JPEG", "val/n01/c.JPEG", side=20)
    data = load_data("imagenet", image_size=32, root=str(tmp_path))
    assert data.train.names == ["n01/a.JPEG", "n02/b.JPEG"]
    assert test_images(data.test).shape == (1, 3, 32, 32)
    before = data.fingerprint
    write(tmp_path, "val/n01/c.JPEG", side=20, seed=1)
    assert load_data("imagenet", image_size=32, root=str(tmp_path)).fingerprint != before


def test_imagenet_without_val_says_where_it_belongs(tmp_path, write):
    write(tmp_path, "train/n01/a.JPEG")
    with pytest.raises(DataError, match=f"{tmp_path / 'val'}/<wnid>"):
        load_data("imagenet", image_size=32, root=str(tmp_path))
