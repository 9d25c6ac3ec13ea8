import pickle

import numpy as np
import pytest
import torch

from bench.data import DataError, load_data


@pytest.fixture
def cifar(monkeypatch, tmp_path):
    """Files in the layout of CIFAR-10, ten images each, with torchvision's checksums replaced."""
    from torchvision.datasets import CIFAR10

    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    for place, (name, _) in enumerate(CIFAR10.train_list + CIFAR10.test_list):
        rng = np.random.default_rng(place)
        rows = rng.integers(0, 256, (10, 3072), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": rows, "labels": [0] * 10}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["airplane"]}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    return tmp_path


def test_cifar10_is_read_and_training_images_are_flipped(cifar):
    data = load_data("cifar10", image_size=32, root=str(cifar))
    assert (len(data.train), len(data.test)) == (50, 10)
    rows = pickle.loads((cifar / "cifar-10-batches-py/test_batch").read_bytes())["data"]
    assert torch.equal(data.test.image(3, None), torch.from_numpy(rows[3]).reshape(3, 32, 32))
    image = data.train.image(0, None)
    drawn = [data.train.image(0, seed) for seed in range(20)]
    assert all(torch.equal(d, image) or torch.equal(d, image.flip(-1)) for d in drawn)
    assert len({d.numpy().tobytes() for d in drawn}) == 2


@pytest.mark.parametrize("file", ["data_batch_3", "test_batch"])
def test_the_fingerprint_follows_pixels_and_size(file, cifar):
    def seen(size=32):
        return load_data("cifar10", image_size=size, root=str(cifar)).fingerprint

    before = seen()
    assert seen() == before
    assert seen(16) != before
    path = cifar / "cifar-10-batches-py" / file
    content = pickle.loads(path.read_bytes())
    content["data"][7, 100] ^= 1
    path.write_bytes(pickle.dumps(content))
    assert seen() != before


def test_cifar10_is_not_enlarged(cifar):
    with pytest.raises(DataError, match="at most 32"):
        load_data("cifar10", image_size=64, root=str(cifar))


def test_cifar10_in_an_empty_folder_says_how_to_get_it(tmp_path):
    with pytest.raises(DataError, match=r"(?s)cifar-10-batches-py.*download=True"):
        load_data("cifar10", image_size=32, root=str(tmp_path))
