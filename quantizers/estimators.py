"""Gradient estimators: how a gradient passes the step from a latent to its code.

In the forward pass every estimator returns the code itself, bit for bit. `u + (code - u)` would
differ by a rounding error between training and decoding.
"""

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Estimator = Literal["straight_through", "rotation", "diveq"]
MAX_ROTATION_GAIN = 100.0  # a latent below 1 % of its code's length counts as 1 %


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(u: Tensor, code: Tensor) -> Tensor:
        return code.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
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


class _Rotation(_StraightThrough):
    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        u, code = ctx.saved_tensors
        tiny = torch.finfo(u.dtype).tiny
        length, code_length = u.norm(dim=-1, keepdim=True), code.norm(dim=-1, keepdim=True)
        target = F.normalize(code, dim=-1)
        source = torch.where(length > tiny, u / length.clamp_min(tiny), target)
        axis = F.normalize(source + target, dim=-1)
        rotated = grad - 2 * axis * _dot(axis, grad) + 2 * source * _dot(target, grad)
        floor = (code_length / MAX_ROTATION_GAIN).clamp_min(tiny)
        return rotated * (code_length / length.clamp_min(floor)), None


def rotation_trick(
    u: Float[Tensor, "*shape d"], code: Float[Tensor, "*shape d"]
) -> Float[Tensor, "*shape d"]:
    """The value of `code`; the gradient of `u`, rotated and scaled as `u` is to reach its code.

    Fifty et al., "Restructuring Vector Quantization with the Rotation Trick", ICLR 2025,
    https://arxiv.org/abs/2410.06424, section 4.2: `code = lambda R u`, where R is the rotation in
    the plane of both, lambda is the ratio of their lengths, and neither has a gradient. With unit
    vectors e of `u`, q of `code` and w of e + q, R = I - 2 w w^T + 2 q e^T. So a gradient g of the
    output is lambda R^T g at `u`, and no gradient reaches `code`.

    Deviations, which bound the gradient by 3 MAX_ROTATION_GAIN |g|: lambda stops growing at
    MAX_ROTATION_GAIN. A zero latent has no direction and is not rotated. For a latent opposite to
    its code no rotation is preferred, and R becomes the reflection I - 2 e e^T.
    """
    return _Rotation.apply(u, code)


class _DiVeQ(_Rotation):
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        u, code = ctx.saved_tensors
        error = code - u
        length = error.norm(dim=-1, keepdim=True)
        tiny = torch.finfo(u.dtype).tiny
        direction = torch.where(length > tiny, error / length.clamp_min(tiny), 0)
        along = direction * _dot(direction, grad)
        return grad - along, along


def diveq(
    u: Float[Tensor, "*shape d"], code: Float[Tensor, "*shape d"]
) -> Float[Tensor, "*shape d"]:
    """The value of `code` with the gradient of `u + |code - u| sg(e)`, e the direction to the code.

    Vali et al., "DiVeQ: Differentiable Vector Quantization Using the Reparameterization Trick",
    ICLR 2026, https://arxiv.org/abs/2509.26469. `code` gets the part of the output's gradient g
    along the error, e e^T g, and `u` gets the rest, (I - e e^T) g: the code moves along the error,
    the latent across it. A latent on its code has no error; it gets all of g.

    Deviations: the paper adds noise to the error before it takes the direction. With the noise, the
    output in training differs from the code; without it, they are equal. The paper has no codebook
    and commitment loss. The methods here keep theirs, as for every estimator, so a code gets the
    sum of two gradients; `commitment_weight=0` turns the second loss off.
    """
    return _DiVeQ.apply(u, code)


def check_estimator(name: str, channels: int) -> None:
    """Raises a ValueError for an unknown estimator, or one that needs more channels.

    On a line there is no rotation, and no direction across the error of a latent.
    """
    known = get_args(Estimator)
    if name not in known:
        raise ValueError(f"estimator must be one of {', '.join(known)}; got {name!r}")
    if name != "straight_through" and channels < 2:
        raise ValueError(f"estimator {name!r} needs codes of at least 2 channels, got {channels}")


def estimate(
    name: Estimator, u: Float[Tensor, "*shape d"], code: Float[Tensor, "*shape d"]
) -> Float[Tensor, "*shape d"]:
    """The value of `code` with the gradient of the named estimator."""
    if name == "rotation":
        return rotation_trick(u, code)
    return diveq(u, code) if name == "diveq" else straight_through(u, code)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=-1, keepdim=True)
