"""Unit length without overflow, for methods that look codes up on a sphere.

The length of a float32 vector overflows if its elements exceed about 1e19, because their squares
leave the range. Dividing by that length would give zeros.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def normalize(x: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
    """Vectors of the last axis divided by their length, or by 1e-12 if they are shorter.

    Values and gradients are bit-equal to `torch.nn.functional.normalize` wherever that does not
    overflow, because scaling by a power of two rounds nothing.
    """
    return F.normalize(scale_down(x), dim=-1)


def scale_down(x: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
    """Divides vectors with elements above 1 by a power of two, so their squares are finite."""
    _, exponent = torch.frexp(x.detach().abs().amax(dim=-1, keepdim=True))
    exponent = exponent.clamp(0, 126)  # 2^-126 is the smallest normal number
    return x * torch.ldexp(torch.ones_like(exponent, dtype=x.dtype), -exponent)
