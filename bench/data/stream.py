"""The order of the training images: batch t is a pure function of (seeds, t).

So there is no state to save: a run resumes by starting at its step. Every quantizer sees the same
images in the same order and the same crops, with any number of workers.
"""

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.data.base import DataError, ImageError, ImageSet

Sample = tuple[Tensor, int] | ImageError


@dataclass(frozen=True)
class Batch:
    """Training images, uint8 and not normalized, and the index of each in its set."""

    images: UInt8[Tensor, "b 3 s s"]
    indices: Int64[Tensor, " b"]


class TrainingStream(Dataset[Sample]):
    """The endless sequence of training samples, by position.

    Position p is in epoch p // n. Each epoch is a permutation of the n images, drawn from
    (data_seed, epoch); crop and flip are drawn from (augment_seed, p).
    """

    def __init__(self, images: ImageSet, *, data_seed: int, augment_seed: int) -> None:
        if len(images) == 0:
            raise DataError("a training stream needs at least one image, got an empty set")
        self.images = images
        self.data_seed = data_seed
        self.augment_seed = augment_seed
        self._epoch = -1
        self._order: Int64[Tensor, " n"] = torch.empty(0, dtype=torch.int64)

    def __getitem__(self, position: int) -> Sample:
        """Image and index at a position; the error of a bad file is returned, not raised."""
        index = self.index(position)
        try:
            return self.images.image(index, _mix(self.augment_seed, position)), index
        except ImageError as error:
            return error

    def index(self, position: int) -> int:
        """Index of the image at a position."""
        epoch, place = divmod(position, len(self.images))
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(_mix(self.data_seed, epoch))
            self._order = torch.randperm(len(self.images), generator=generator)
            self._epoch = epoch
        return int(self._order[place])


def training_batches(
    images: ImageSet,
    *,
    batch_size: int,
    start_step: int,
    stop_step: int,
    data_seed: int,
    augment_seed: int,
    workers: int = 0,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Yields the batches of steps start_step .. stop_step - 1.

    Args:
        images: the training set.
        batch_size: images per batch.
        start_step: first step; to resume at step t, start at step t.
        stop_step: the step after the last.
        data_seed: seed of the order.
        augment_seed: seed of crops and flips.
        workers: reading processes; they only change the speed.
        pin_memory: page-locked batches, for copies to a GPU.

    Raises:
        ImageError: a file cannot be used; raised here even if a worker found it.
        ValueError: impossible steps or batch size; raised at the call, not at the first batch.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not 0 <= start_step <= stop_step:
        raise ValueError(
            f"steps must satisfy 0 <= start <= stop, got start {start_step} and stop {stop_step}"
        )
    loader = DataLoader(
        TrainingStream(images, data_seed=data_seed, augment_seed=augment_seed),
        batch_sampler=(
            list(range(step * batch_size, (step + 1) * batch_size))
            for step in range(start_step, stop_step)
        ),
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # without it, the loader draws from the global RNG
    )
    return _raising(loader)


def index_digest(previous: str, indices: Int64[Tensor, " b"]) -> str:
    """Extends a SHA-256 chain by one batch: equal digests prove equal order, batch by batch.

    Args:
        previous: the digest so far (hex), "" before the first batch.
        indices: of the images in the batch, on any device.
    """
    values = indices.cpu().numpy().astype("<i8").tobytes()  # the same bytes on every machine
    return hashlib.sha256(previous.encode() + values).hexdigest()


def _mix(seed: int, counter: int) -> int:
    """A 63-bit seed; neighbouring seeds and counters give unrelated ones."""
    digest = hashlib.blake2b(f"{seed}:{counter}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _collate(samples: list[Sample]) -> tuple[Tensor, Tensor] | ImageError:
    """Stacks samples; the first error replaces the batch."""
    images, indices = [], []
    for sample in samples:
        if isinstance(sample, ImageError):
            return sample
        images.append(sample[0])
        indices.append(sample[1])
    return torch.stack(images), torch.tensor(indices)


def _raising(loader: DataLoader[Sample]) -> Iterator[Batch]:
    """Yields the loader's batches, and raises the errors that workers returned."""
    with warnings.catch_warnings():
        # Python 3.12 warns about every fork of a process with threads, and torch has threads.
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        collated = iter(loader)
    try:
        for item in collated:
            if isinstance(item, ImageError):
                raise item
            yield Batch(*item)
    finally:
        # Stops the workers now. An exception would keep them alive with this frame, and they would
        # disturb the workers that the next loader forks.
        del collated
