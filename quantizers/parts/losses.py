"""The one convention for codebook, commitment and entropy losses.

`mse(code, sg(u))` moves the codes, `commitment_weight * mse(sg(code), u)` moves the encoder: van
den Oord, Vinyals, Kavukcuoglu, "Neural Discrete Representation Learning", NeurIPS 2017,
https://arxiv.org/abs/1711.00937, equation 3. `u` is the vector that was looked up; the mean is
over all elements. If a paper puts beta on the other term or sums over channels, the method converts
its weight, and its docstring says from what.

The entropy losses lower the entropy of a token's soft code (certainty) and raise the entropy of the
batch's mean soft code (diversity). All losses of an empty batch are 0.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quantizers.parts.entropy import MAX_ENTROPY_BITS


def codebook_losses(
    u: Float[Tensor, "*shape"], code: Float[Tensor, "*shape"], *, commitment_weight: float
) -> dict[str, Float[Tensor, ""]]:
    """Codebook loss of weight 1, commitment loss of weight `commitment_weight` (beta)."""
    return {
        "codebook": mean_square(code, u.detach()),
        "commitment": commitment_loss(u, code, commitment_weight=commitment_weight),
    }


def commitment_loss(
    u: Float[Tensor, "*shape"], code: Float[Tensor, "*shape"], *, commitment_weight: float
) -> Float[Tensor, ""]:
    """Only the commitment loss, for codes that no gradient trains."""
    return commitment_weight * mean_square(u, code.detach())


def entropy_losses(
    entropies: tuple[Float[Tensor, ""], Float[Tensor, ""]],
    *,
    entropy_weight: float,
    diversity_weight: float = 1.0,
) -> dict[str, Float[Tensor, ""]]:
    """Weighted losses from the entropy of a token's soft code and of the batch's mean soft code."""
    token_entropy, batch_entropy = entropies
    return {
        "token_entropy": entropy_weight * token_entropy,
        "batch_entropy": -entropy_weight * diversity_weight * batch_entropy,
    }


def mean_square(a: Float[Tensor, "*shape"], b: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Mean of (a - b)^2 over all elements; without elements 0, with a gradient."""
    return F.mse_loss(a, b, reduction="mean" if a.numel() else "sum")


def check_weight(name: str, weight: float) -> None:
    """Raises a ValueError for a loss weight that is negative or not finite."""
    if not 0 <= weight < float("inf"):
        raise ValueError(f"{name} must be finite and not negative, got {weight}")


def check_temperature(temperature: float) -> None:
    """Raises a ValueError for a temperature that is not positive or not finite."""
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be finite and above 0, got {temperature}")


def check_entropy_losses(
    *,
    entropy_weight: float,
    diversity_weight: float,
    temperature: float,
    codes: int,
    remedy: str = "entropy_weight=0 leaves it out",
) -> None:
    """Raises a ValueError for invalid weights, or for too many codes of a batch entropy."""
    check_temperature(temperature)
    check_weight("entropy_weight", entropy_weight)
    check_weight("diversity_weight", diversity_weight)
    if entropy_weight and codes > 2**MAX_ENTROPY_BITS:
        raise ValueError(
            f"the batch entropy covers at most 2^{MAX_ENTROPY_BITS} codes, got {codes}; {remedy}"
        )
