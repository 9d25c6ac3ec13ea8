"""What the methods share whose codes are the signs of channels: packing, and their losses.

In an index the first bit is the most significant one.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quantizers.parts.entropy import bit_entropies
from quantizers.parts.losses import commitment_loss, entropy_losses


def bit_values(bits: int, device: torch.device | None = None) -> Int[Tensor, " bits"]:
    """The values of the bits of a number, the most significant first."""
    return 2 ** torch.arange(bits - 1, -1, -1, device=device)


def pack(bits: Bool[Tensor, "*position d"], values: Int[Tensor, " d"]) -> Int[Tensor, "*position"]:
    """The number whose binary digits the bits are."""
    return (bits * values).sum(dim=-1)


def unpack(
    numbers: Int[Tensor, "*position"], values: Int[Tensor, " d"]
) -> Bool[Tensor, "*position d"]:
    """The binary digits of a number."""
    return numbers.unsqueeze(-1) // values % 2 == 1


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
    """Commitment loss, and unless their weight is 0 the entropies of k groups of d bits, summed.

    Args:
        u: what the signs were taken of.
        code: what they became.
        logit_scale: the logit of a bit, log P(set) / P(not set), is so many times its `u`.
        commitment_weight: beta.
        entropy_weight: of both entropies.
        diversity_weight: of the entropy of the batch, relative to that of a token.
        all_processes: whether the batch is that of all processes.
    """
    losses = {"commitment": commitment_loss(u, code, commitment_weight=commitment_weight)}
    if entropy_weight:
        logits = u.flatten(0, -3) * logit_scale
        entropies = [
            torch.stack(bit_entropies(group, all_processes=all_processes))
            for group in logits.unbind(dim=1)
        ]
        of_tokens, of_batch = torch.stack(entropies).sum(dim=0).unbind()
        losses |= entropy_losses(
            (of_tokens, of_batch),
            entropy_weight=entropy_weight,
            diversity_weight=diversity_weight,
        )
    return losses
