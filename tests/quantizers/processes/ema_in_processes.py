"""One of two processes that train an EMA codebook together, for test_ema_vq.py.

Usage: ema_in_processes.py RANK FOLDER
"""

from typing import Any

import torch
from torch import Tensor
from two_processes import run

from quantizers import Quantizer, build


def normal(*shape: int, seed: int) -> Tensor:
    """Normal numbers from a seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def trained(rank: int, revival_threshold: float) -> Quantizer:
    """Three updates, each on a batch of only this process; the peer's batch has another length."""
    ema_vq = build(
        "ema_vq", codebook_size=32, latent_channels=3, revival_threshold=revival_threshold
    ).train()
    ema_vq.codebook.copy_(normal(32, 3, seed=0))
    torch.manual_seed(rank)
    for number in range(3):
        ema_vq(normal(10 + rank, 3, seed=2 * number + rank))
        ema_vq.update()
    return ema_vq


def compute(rank: int) -> dict[str, Any]:
    """Trains with and without revival."""
    return {
        "counted": trained(rank, revival_threshold=0.0).codebook,
        "revived": list(trained(rank, revival_threshold=0.5).state_dict().values()),
    }


if __name__ == "__main__":
    run(compute)
