"""Look-up of latents in one codebook of explicit codes."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quantizers.base import QuantizerOutput
from quantizers.estimators import Estimator, estimate
from quantizers.nearest import nearest
from quantizers.parts.losses import codebook_losses


def nearest_code(
    z: Float[Tensor, "b c *spatial"],
    codebook: Float[Tensor, "v c"],
    *,
    commitment_weight: float,
    estimator: Estimator,
) -> QuantizerOutput:
    """The nearest code of every latent, with VQ's losses, which train latents and codebook."""
    u = z.movedim(1, -1)
    indices = nearest(u.flatten(0, -2), codebook).view(u.shape[:-1])
    code = F.embedding(indices, codebook)
    return QuantizerOutput(
        quantized=estimate(estimator, u, code).movedim(-1, 1),
        indices=indices.unsqueeze(1),
        losses=codebook_losses(u, code, commitment_weight=commitment_weight),
    )
