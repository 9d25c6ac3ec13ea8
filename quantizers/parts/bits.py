"""Bits: packing signs of channels into indices, and the losses of methods with such codes.

The first bit of an index is the most significant one.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quantizers.parts.entropy import bit_entropies, sum_over_groups
from quantizers.parts.losses import commitment_loss, entropy_losses


def bit_values(bits: int, device: torch.device | None = None) -> Int[Tensor, " bits"]:
    """The value of each bit of an index, the most significant first."""
    return 2 ** torch.arange(bits - 1, -1, -1, device=device)


def pack(bits: Bool[Tensor, "*position d"], values: Int[Tensor, " d"]) -> Int[Tensor, "*position"]:
    """The index with these binary digits."""
    return (bits * values).sum(dim=-1)


def unpack(
    indices: Int[Tensor, "*position"], values: Int[Tensor, " d"]
) -> Bool[Tensor, "*position d"]:
    """The binary digits of an index."""
    return indices.unsqueeze(-1) // values % 2 == 1


def bit_losses(
    u: Float[Tensor, "*position k d"],
    code: Float[Tensor, "*position k d"],
    *,
    logit_scale: float,
    commitment_weight: float,
    entropy_weight: float,
    diversity_weight: float,
    all_processes: bool,
) -> dict[str, Float[Tensor, ""]]:
    """Commitment loss and, unless `entropy_weight` is 0, entropy losses summed over groups of bits.

    Args:
        u: k groups of d channels before the sign is taken.
        code: their codes.
        logit_scale: the logit of a bit, log P(set) / P(not set), is this times its `u`.
        commitment_weight: beta.
        entropy_weight: weight of both entropies.
        diversity_weight: weight of the batch's entropy relative to the token's.
        all_processes: whether the batch is that of all processes.
    """
    losses = {"commitment": commitment_loss(u, code, commitment_weight=commitment_weight)}
    if entropy_weight:
        logits = u.flatten(0, -3) * logit_scale
        entropies = sum_over_groups(
            bit_entropies(group, all_processes=all_processes) for group in logits.unbind(dim=1)
        )
        losses |= entropy_losses(
            entropies, entropy_weight=entropy_weight, diversity_weight=diversity_weight
        )
    return losses
