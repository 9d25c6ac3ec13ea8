"""Soft assignments of many latents to many codes, with bounded memory.

`checkpointed` computes them in chunks and computes each chunk again in the backward pass: gradient
checkpointing, Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016,
https://arxiv.org/abs/1604.06174. So a training step never stores the matrix of all latents by all
codes, only one chunk of it besides the results.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from quantizers.nearest.dot_products import dot_products

Results = tuple[Sequence[Tensor], Sequence[Tensor]]

_CHUNK_FLOATS = 1 << 21  # 8 MiB of float32
_MIN_CHUNK_ROWS = 16  # each chunk adds to the gradients of all codes, which takes time


def checkpointed(
    function: Callable[[Float[Tensor, "chunk c"]], Results],
    rows: Float[Tensor, "n c"],
    *,
    floats_per_row: int,
) -> tuple[list[Tensor], list[Tensor]]:
    """Applies `function` to chunks of rows, with gradient checkpointing, and joins the results.

    An input that fits in one chunk is computed once. So is everything in compiled and exported
    code, because the compiler decides what to compute again.

    Args:
        function: for a chunk of rows, it returns results with one row for each of them, and sums
            over them. It may use parameters, which get their gradients, and draw random numbers:
            the backward pass draws the same ones.
        rows: all rows.
        floats_per_row: how many numbers `function` holds for each row.

    Returns:
        The results of all rows, and the sums over all rows.
    """
    chunk_rows = max(_MIN_CHUNK_ROWS, _CHUNK_FLOATS // floats_per_row)
    if torch.compiler.is_compiling() or rows.shape[0] <= chunk_rows:
        results, sums = function(rows)
        return list(results), list(sums)
    chunks = [checkpoint(function, chunk, use_reentrant=False) for chunk in rows.split(chunk_rows)]
    results = [torch.cat(parts) for parts in zip(*(results for results, _ in chunks), strict=True)]
    sums = [sum(parts[1:], parts[0]) for parts in zip(*(sums for _, sums in chunks), strict=True)]
    return results, sums


class _SoftAssignment(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: Tensor, indices: Tensor, codebook: Tensor) -> Tensor:
        ctx.save_for_backward(indices, codebook)
        return F.embedding(indices, codebook)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor]:
        indices, codebook = ctx.saved_tensors
        grad_codebook = torch.zeros_like(codebook).index_add(0, indices, grad)
        return dot_products(grad, codebook), None, grad_codebook


def soft_assignment(
    p: Float[Tensor, "n v"], indices: Int[Tensor, " n"], codebook: Float[Tensor, "v d"]
) -> Float[Tensor, "n d"]:
    """The selected codes, with the gradient of `onehot @ codebook` at `onehot = hard + p - sg(p)`.

    The straight-through Gumbel-softmax of Jang, Gu, Poole, "Categorical Reparameterization with
    Gumbel-Softmax", ICLR 2017, https://arxiv.org/abs/1611.01144, section 2.2, and the index
    backpropagation of IBQ. All probabilities get a gradient; of the codes, only the selected ones.
    """
    return _SoftAssignment.apply(p, indices, codebook)
