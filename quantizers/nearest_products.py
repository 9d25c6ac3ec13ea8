"""What the search in blocks asks of the machine: dot products, and memory that stays at hand.

Both are about speed alone; no index depends on them.
"""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor


def dot_products(
    codes: Float[Tensor, "v k"], latents: Float[Tensor, "n k"]
) -> Float[Tensor, "v n"]:
    """Dot products of all rows, by oneDNN where torch has it: the call of a compiled linear layer.

    `torch.mm` calls MKL, which leaves vectors of 512 bits unused on some processors.
    """
    if torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._linear_pointwise(codes, latents, None, "none", [], "")
    return codes @ latents.T


@cache
def keep_freed_memory() -> None:
    """Asks the C library to keep the memory of freed tiles, instead of faulting it in again.

    glibc gives freed memory back above twice the largest block that it saw freed, of at most 32
    MiB. This block of zeros is never touched, so it takes no memory itself.
    """
    bytes(31 << 20)
