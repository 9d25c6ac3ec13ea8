"""Gradient estimators: how a gradient passes the step from a latent to its code.

Every estimator returns the code itself in the forward pass, bit for bit, so that nothing like
`u + (code - u)` drifts by a rounding error between training and decoding.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, code: Tensor) -> Tensor:
        return code.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def straight_through(
    u: Float[Tensor, "*shape"], code: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """The value of `code` with the gradient of `u`.

    Bengio, Léonard, Courville, "Estimating or Propagating Gradients Through Stochastic Neurons",
    2013, https://arxiv.org/abs/1308.3432, section 1; in vector quantization since van den Oord et
    al. 2017. No gradient reaches `code`.
    """
    return _StraightThrough.apply(u, code)
