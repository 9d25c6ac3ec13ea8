"""k-means: codes for a set of latents, which may be spread over processes.

Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory, 1982, in many
dimensions as in Linde, Buzo, Gray, "An Algorithm for Vector Quantizer Design", IEEE Transactions on
Communications, 1980.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quantizers.nearest import nearest
from quantizers.parts.processes import add_processes, copy_first_process

_SPLIT = 0.01  # noise between codes that start from one latent, in standard deviations of a channel


def kmeans(
    latents: Float[Tensor, "n d"], codes: int, *, iterations: int = 10
) -> Float[Tensor, "v d"]:
    """Centres of `codes` clusters, from starts that are drawn with torch's global generator.

    In a distributed run every process calls it with its own latents, at least one. The starts come
    from the first process, every latent has the same weight, and all processes get the same
    centres.
    """
    centres = starts(latents, codes)
    copy_first_process(centres)
    return lloyd(latents, centres, iterations)


def starts(latents: Float[Tensor, "n d"], codes: int) -> Float[Tensor, "v d"]:
    """One distinct latent for each code.

    With fewer latents than codes, each becomes several codes close to one another (splitting of
    Linde, Buzo and Gray).
    """
    rounds = -(-codes // len(latents))
    order = torch.cat([torch.randperm(len(latents)) for _ in range(rounds)])[:codes]
    centres = latents[order.to(latents.device)]
    noise = torch.randn(centres.shape).to(latents) * latents.std(dim=0, correction=0) * _SPLIT
    noise[: len(latents)] = 0
    return centres + noise


def lloyd(
    latents: Float[Tensor, "n d"], centres: Float[Tensor, "v d"], iterations: int
) -> Float[Tensor, "v d"]:
    """Moves each centre to the mean of its nearest latents, `iterations` times.

    The mean squared distance of a latent to its nearest centre never grows. A centre without
    latents stays where it is.
    """
    for _ in range(iterations):
        choices = nearest(latents, centres)
        offsets = latents - F.embedding(choices, centres)  # sums of small numbers keep their digits
        sums = torch.zeros_like(centres).index_add_(0, choices, offsets)
        ones = torch.ones_like(offsets[:, 0])
        sizes = torch.zeros_like(centres[:, 0]).index_add_(0, choices, ones)
        add_processes(sums, sizes)
        centres = centres + sums / sizes.clamp_min(1).unsqueeze(1)
    return centres
