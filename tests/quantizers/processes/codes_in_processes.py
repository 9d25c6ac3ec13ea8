"""One of two processes; their codes follow latents. For test_codes_in_processes.py.

Saves LGQ's usage loss with the gradient that data parallel training averages, and the states of LGQ
and MGVQ after an update. Usage: codes_in_processes.py RANK FOLDER
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from two_processes import run

from quantizers import Quantizer, build


def batch(rank: int) -> Tensor:
    """Ten tokens for the first process, seventeen for the second."""
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(10 + 7 * rank, 4, generator=generator) + rank


def made(name: str) -> Quantizer:
    """The same codes in every process."""
    shapes = {
        "lgq": {"latent_channels": 4, "codebook_size": 8},
        "mgvq": {"groups": 2, "group_channels": 2, "codebook_size": 8},
    }
    torch.manual_seed(0)
    return build(name, **shapes[name]).train()


def usage_and_gradient(lgq: Quantizer, inputs: Tensor) -> list[Tensor]:
    """The usage loss of LGQ and its gradient at the codes."""
    usage = lgq(inputs).losses["usage"]
    (gradient,) = torch.autograd.grad(usage, [lgq.codebook])
    return [usage.detach(), gradient]


def compute(rank: int) -> dict[str, Any]:
    """Trains both."""
    lgq, mgvq = made("lgq"), made("mgvq")
    usage, gradient = usage_and_gradient(lgq, batch(rank))
    dist.all_reduce(gradient)
    torch.manual_seed(rank)
    mgvq(batch(rank))
    for quantizer in (lgq, mgvq):
        quantizer.update()
    return {
        "usage": [usage, gradient / 2],
        "lgq": lgq.state_dict(),
        "mgvq": mgvq.state_dict(),
    }


if __name__ == "__main__":
    run(compute)
