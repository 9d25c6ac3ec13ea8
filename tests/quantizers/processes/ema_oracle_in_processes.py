"""One of two processes that train an EMA codebook of vector-quantize-pytorch and ours alike.

Usage: ema_oracle_in_processes.py RANK FOLDER
"""

import warnings

import torch
from torch import Tensor
from two_processes import run

from quantizers import build

CODES, CHANNELS, STEPS = 32, 3, 3


def batch(rank: int, number: int) -> Tensor:
    """Another length in each process."""
    generator = torch.Generator().manual_seed(2 * number + rank + 10)
    return torch.randn(1, 40 + 7 * rank, CHANNELS, generator=generator)


def compute(rank: int) -> dict[str, Tensor]:
    """Both codebooks after some updates, each on a batch of only this process."""
    with warnings.catch_warnings():  # its dependencies warn about one another when imported
        warnings.simplefilter("ignore")
        from vector_quantize_pytorch import VectorQuantize
    codes = torch.randn(CODES, CHANNELS, generator=torch.Generator().manual_seed(0))
    theirs = VectorQuantize(
        dim=CHANNELS, codebook_size=CODES, decay=0.9, eps=1e-5, rotation_trick=False
    ).train()
    theirs.codebook = codes
    theirs._codebook.embed_avg.copy_(codes)  # its averages start as if each code was chosen once
    ours = build(
        "ema_vq", codebook_size=CODES, latent_channels=CHANNELS, decay=0.9, revival_threshold=0.0
    ).train()
    ours.load_state_dict(
        {"codebook": codes, "cluster_sums": codes, "cluster_sizes": torch.ones(CODES)}
    )
    for number in range(STEPS):
        z = batch(rank, number)
        theirs(z)
        ours(z.mT)
        ours.update()
    return {"theirs": theirs.codebook.detach().clone(), "ours": ours.codebook}


if __name__ == "__main__":
    run(compute)
