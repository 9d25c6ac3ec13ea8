"""How far the norms of a quantizer's codes have moved since its training began.

The codes are the rows of every tensor called `codebook` in a quantizer or in one of its parts, as
the method holds them: a method that normalises its codes at the look-up shows the norms before it.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from quantizers import Quantizer


class NormDrift:
    """Remembers the norms of a quantizer's codes as they are now.

    Args:
        quantizer: at the start of its training; read again whenever the drift is asked for.
    """

    def __init__(self, quantizer: Quantizer) -> None:
        self._quantizer = quantizer
        self._start = _code_norms(quantizer)

    def values(self) -> dict[str, float]:
        """`code_norm_drift`: RMS change of the norms over the RMS of the norms at the start.

        0 for codes that never move; a mean over codebooks; absent for a method without any. Not
        finite where all codes of a codebook start at zero. The host waits for the device.
        """
        drifts = [
            float(_rms(now - start) / _rms(start))
            for start, now in zip(self._start, _code_norms(self._quantizer), strict=True)
        ]
        return {"code_norm_drift": math.fsum(drifts) / len(drifts)} if drifts else {}


def _code_norms(quantizer: Quantizer) -> list[Float[Tensor, " v"]]:
    """The norms of the codes of each codebook."""
    norms: list[Tensor] = []
    with torch.no_grad():
        for part in quantizer.modules():
            codebook = getattr(part, "codebook", None)
            if isinstance(codebook, Tensor) and codebook.ndim > 1:
                norms += codebook.float().norm(dim=-1).reshape(-1, codebook.shape[-2])
    return norms


def _rms(norms: Float[Tensor, " v"]) -> Float[Tensor, ""]:
    return norms.square().mean().sqrt()
