"""How far the norms of a quantizer's codes have moved since training began.

The codes are the rows of every tensor named `codebook` in a quantizer or in one of its parts, as
stored: a method that normalizes its codes at look-up shows the norms before that.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from quantizers import Quantizer


class NormDrift:
    """Remembers the current norms of a quantizer's codes.

    Args:
        quantizer: at the start of training; `values` reads its codes again.
    """

    def __init__(self, quantizer: Quantizer) -> None:
        self._quantizer = quantizer
        self._start = _code_norms(quantizer)

    def values(self) -> dict[str, float]:
        """`code_norm_drift`: RMS change of the norms over the RMS of the norms at the start.

        The mean over codebooks; 0 for codes that never move, and absent without codebooks. Not
        finite if all codes of a codebook start at zero. Synchronizes with the device.
        """
        drifts = [
            float(_rms(now - start) / _rms(start))
            for start, now in zip(self._start, _code_norms(self._quantizer), strict=True)
        ]
        return {"code_norm_drift": math.fsum(drifts) / len(drifts)} if drifts else {}


def _code_norms(quantizer: Quantizer) -> list[Float[Tensor, " v"]]:
    """The norms of the codes, for each codebook."""
    norms: list[Tensor] = []
    with torch.no_grad():
        for part in quantizer.modules():
            codebook = getattr(part, "codebook", None)
            if isinstance(codebook, Tensor) and codebook.ndim > 1:
                norms += codebook.float().norm(dim=-1).reshape(-1, codebook.shape[-2])
    return norms


def _rms(norms: Float[Tensor, " v"]) -> Float[Tensor, ""]:
    return norms.square().mean().sqrt()
