import hashlib
import multiprocessing
from collections import Counter

import numpy as np
import pytest
import torch

from bench.data import DataError, ImageError, TrainingStream, index_digest, training_batches


class Numbered:
    """Images that show their index and seed; one index may have a bad file."""

    def __init__(self, count, bad=None):
        self.count = count
        self.bad = bad

    def __len__(self):
        return self.count

    def image(self, index, seed):
        if index == self.bad:
            raise ImageError(f"{index}.png", "is not an image")
        generator = torch.Generator().manual_seed(seed)
        image = torch.randint(256, (3, 4, 4), dtype=torch.uint8, generator=generator)
        image[0, 0, 0] = index
        return image


def batches(images=None, start=0, stop=12, data_seed=1, augment_seed=2, workers=0, batch_size=4):
    return list(
        training_batches(
            images or Numbered(10),
            batch_size=batch_size,
            start_step=start,
            stop_step=stop,
            data_seed=data_seed,
            augment_seed=augment_seed,
            workers=workers,
        )
    )


def equal(one, other):
    return len(one) == len(other) and all(
        torch.equal(a.images, b.images) and torch.equal(a.indices, b.indices)
        for a, b in zip(one, other, strict=True)
    )


def test_the_same_seeds_give_the_same_batches():
    assert equal(batches(), batches())


def test_starting_late_equals_skipping():
    assert equal(batches(start=7), batches()[7:])


def test_workers_change_nothing():
    assert equal(batches(workers=2), batches())


def test_each_epoch_is_a_permutation_and_epochs_differ():
    indices = torch.cat([batch.indices for batch in batches(stop=10)]).reshape(4, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in indices.tolist())
    assert len({tuple(epoch) for epoch in indices.tolist()}) == 4


def test_batches_pair_images_with_their_indices():
    for batch in batches():
        assert torch.equal(batch.images[:, 0, 0, 0].long(), batch.indices)


def test_the_data_seed_changes_the_order():
    one, other = batches(data_seed=1), batches(data_seed=2)
    assert any(not torch.equal(a.indices, b.indices) for a, b in zip(one, other, strict=True))


def test_the_augment_seed_changes_every_crop_and_no_index():
    for a, b in zip(batches(augment_seed=1), batches(augment_seed=2), strict=True):
        assert torch.equal(a.indices, b.indices)
        assert not (a.images == b.images).flatten(1).all(dim=1).any()


def test_each_epoch_shows_other_crops():
    images = torch.cat([batch.images for batch in batches(stop=10)])
    assert len({image.numpy().tobytes() for image in images}) == 40


def test_a_batch_may_span_many_epochs():
    batch = batches(Numbered(3), stop=1, batch_size=32)[0]
    assert Counter(batch.indices[:30].tolist()) == {0: 10, 1: 10, 2: 10}


def test_positions_can_be_read_in_any_order():
    stream = TrainingStream(Numbered(10), data_seed=0, augment_seed=0)
    forward = [stream.index(position) for position in range(40)]
    assert [stream.index(position) for position in reversed(range(40))] == forward[::-1]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_image_is_raised_here_with_its_path(workers):
    with pytest.raises(ImageError, match=r"^3\.png: is not an image$") as error:
        batches(Numbered(10, bad=3), workers=workers)
    assert error.value.path == "3.png"
    assert multiprocessing.active_children() == []  # holding the error keeps no worker alive


def test_global_generators_are_left_alone():
    """Python's own is not checked: the run-time type checks of the tests draw from it."""
    before = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    batches()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert str(np.random.get_state()) == before[1]  # noqa: NPY002


def test_global_generators_have_no_influence():
    torch.manual_seed(0)
    one = batches()
    torch.manual_seed(1)
    assert equal(one, batches())


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (4, 3)])
def test_impossible_steps_are_refused_at_the_call(start, stop):
    with pytest.raises(ValueError, match=f"start {start} and stop {stop}"):
        batches(start=start, stop=stop)


def test_an_empty_batch_size_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        batches(batch_size=0)


def test_an_empty_set_is_refused():
    with pytest.raises(DataError, match="empty set"):
        TrainingStream(Numbered(0), data_seed=0, augment_seed=0)


def test_no_steps_give_no_batches():
    assert batches(start=5, stop=5) == []


def test_the_digest_is_a_chain_of_sha256():
    first = hashlib.sha256((1).to_bytes(8, "little") + (2).to_bytes(8, "little")).hexdigest()
    assert index_digest("", torch.tensor([1, 2])) == first
    second = hashlib.sha256(first.encode() + (3).to_bytes(8, "little")).hexdigest()
    assert index_digest(first, torch.tensor([3])) == second


def test_the_digest_depends_on_order():
    assert index_digest("", torch.tensor([1, 2])) != index_digest("", torch.tensor([2, 1]))
