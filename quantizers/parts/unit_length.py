"""Unit length without overflow, for every method that looks codes up on a sphere.

The length of a float32 vector overflows where its elements exceed about 1e19, whose squares leave
the range; dividing by it then gives zeros.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def normalize(x: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
    """Vectors of the last axis divided by their length, or by 1e-12 where they are shorter.

    Bit-equal to `torch.nn.functional.normalize`, values and gradients, wherever that one does not
    overflow: scaling by a power of two rounds nothing.
    """
    return F.normalize(scale_down(x), dim=-1)


def scale_down(x: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
    """Vectors with elements above 1 divided by a power of two, so that their squares are finite."""
    _, exponent = torch.frexp(x.detach().abs().amax(dim=-1, keepdim=True))
    exponent = exponent.clamp(0, 126)  # 2^-126 is the smallest normal number
    return x * torch.ldexp(torch.ones_like(exponent, dtype=x.dtype), -exponent)
