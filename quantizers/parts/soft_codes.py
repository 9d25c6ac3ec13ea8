"""Soft codes of many tokens over many codes, without one number for every token and code at a time.

Tokens are taken in slices, and what a slice computes on the way to its results is computed again in
the backward pass: gradient checkpointing, Chen et al., "Training Deep Nets with Sublinear Memory
Cost", 2016, https://arxiv.org/abs/1604.06174. So a training step over n tokens and V codes holds a
bounded number of soft codes beside what it holds for each token and for each code.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Results = tuple[Sequence[Tensor], Sequence[Tensor]]

_NUMBERS = 1 << 21  # of a slice: 8 MiB of float32
_TOKENS = 16  # of a slice, at least: each adds to the gradients of all codes


def by_slices(
    function: Callable[[Float[Tensor, "slice c"]], Results],
    latents: Float[Tensor, "n c"],
    *,
    codes: int,
) -> tuple[list[Tensor], list[Tensor]]:
    """What `function` returns for all tokens, computed slice by slice.

    Few tokens and codes are one slice, which is computed once. So is everything in compiled and
    exported code, where the compiler decides what to compute again.

    Args:
        function: for the latents of some tokens, results that have a row for each, and sums over
            them. It may use parameters, which get their gradients, and draw random numbers: the
            backward pass draws the same.
        latents: of all tokens.
        codes: how many numbers `function` holds for each token.

    Returns:
        The rows of all tokens, and the sums over all.
    """
    tokens = max(_TOKENS, _NUMBERS // codes)
    if torch.compiler.is_compiling() or latents.shape[0] <= tokens:
        rows, sums = function(latents)
        return list(rows), list(sums)
    slices = [checkpoint(function, part, use_reentrant=False) for part in latents.split(tokens)]
    rows = [torch.cat(parts) for parts in zip(*(rows for rows, _ in slices), strict=True)]
    sums = [sum(parts[1:], parts[0]) for parts in zip(*(sums for _, sums in slices), strict=True)]
    return rows, sums
