"""The one convention for codebook and commitment losses.

`mse(code, sg(u))` moves the codes, `commitment_weight * mse(sg(code), u)` moves the encoder: van
den Oord, Vinyals, Kavukcuoglu, "Neural Discrete Representation Learning", NeurIPS 2017,
https://arxiv.org/abs/1711.00937, equation 3. `u` is the vector that was looked up, the mean runs
over all elements. Weights of papers that put beta on the other term, or sum over channels, are
converted before they come here, and the method's docstring says from what.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def codebook_losses(
    u: Float[Tensor, "*shape"], code: Float[Tensor, "*shape"], *, commitment_weight: float
) -> dict[str, Float[Tensor, ""]]:
    """Codebook loss of weight 1, commitment loss of weight `commitment_weight` (beta)."""
    return {
        "codebook": F.mse_loss(code, u.detach()),
        "commitment": commitment_weight * F.mse_loss(u, code.detach()),
    }


def check_weight(name: str, weight: float) -> None:
    """Raises a ValueError for a loss weight that is negative or not finite."""
    if not 0 <= weight < float("inf"):
        raise ValueError(f"{name} must be finite and not negative, got {weight}")
