"""One of two processes, each with its own batch, for test_processes.py.

Saves each example's losses and its gradients, averaged over the processes as in data parallel
training, and what k-means makes of both batches.
Usage: sums_in_processes.py RANK FOLDER
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from two_processes import run

from quantizers import build
from quantizers.parts.kmeans import lloyd

WIDTH = 3
EXAMPLES: dict[str, dict[str, Any]] = {
    "lfq": {"latent_channels": 4, "temperature": 1.0},
    "bsq": {"latent_channels": 4, "temperature": 0.3},
    "grouped_lfq": {"groups": 2, "group_channels": 2, "temperature": 1.0},
    "fsq": {"levels": (4, 3, 5, 2), "entropy_weight": 0.1, "temperature": 0.1},
    "ibq": {"latent_channels": 4, "codebook_size": 6, "temperature": 1.0},
    "gsq": {"groups": 2, "group_channels": 2, "codebook_size": 5, "entropy_weight": 0.1},
}
ENTROPIES = ("token_entropy", "batch_entropy")


def batch(rank: int) -> Tensor:
    """Five tokens for the first process, nine for the second."""
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(5 + 4 * rank, WIDTH, generator=generator) + rank


def entropies_and_gradients(name: str, inputs: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The entropy losses behind a linear layer, and their gradients at all parameters."""
    torch.manual_seed(0)
    encoder = nn.Linear(WIDTH, 4)
    quantizer = build(name, **EXAMPLES[name]).train()
    losses = quantizer(encoder(inputs)).losses
    entropies = [losses[key] for key in ENTROPIES]
    parameters = [*encoder.parameters(), *quantizer.parameters()]
    gradients = torch.autograd.grad(entropies[0] + 2 * entropies[1], parameters)
    return [entropy.detach() for entropy in entropies], list(gradients)


def averaged(gradient: Tensor) -> Tensor:
    """What distributed data parallelism does to a gradient."""
    dist.all_reduce(gradient)
    return gradient / dist.get_world_size()


def compute(rank: int) -> dict[str, list[Tensor]]:
    """Everything of one process."""
    result: dict[str, list[Tensor]] = {}
    for name in EXAMPLES:
        entropies, gradients = entropies_and_gradients(name, batch(rank))
        result[name] = [*entropies, *map(averaged, gradients)]
    empty = batch(rank)[: 5 * rank]  # no token in the first process
    entropies, gradients = entropies_and_gradients("lfq", empty)
    result["with an empty batch"] = [*entropies, *map(averaged, gradients)]
    result["lloyd"] = [lloyd(batch(rank), batch(0)[:4], 3)]
    torch.manual_seed(rank)
    vq = build("vq", latent_channels=WIDTH, codebook_size=7, init="kmeans").train()
    vq(batch(rank))
    vq.update()
    result["vq"] = [vq.codebook.detach()]
    result["eval"] = []
    if rank == 0:  # a collective would wait for the other process forever
        lfq = build("lfq", latent_channels=WIDTH).eval()
        result["eval"] = list(lfq(batch(rank)).losses.values())
    dist.barrier()
    return result


if __name__ == "__main__":
    run(compute)
