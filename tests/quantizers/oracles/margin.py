"""Latents and the margin rule for comparisons of indices with other libraries.

A token is compared unless float32 cannot tell its two best codes apart (their squared distances
differ by less than 1e-5 of the second), or its value before rounding lies within 1e-5 of a
half-integer: there, either index is right.
"""

import torch
from torch import Tensor


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers from a seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def clear(latents: Tensor, codebook: Tensor) -> Tensor:
    """Which tokens have a best code that is nearer than the second by the margin."""
    distances = torch.cdist(latents.double(), codebook.double()).square()
    best, second = distances.topk(2, largest=False).values.unbind(dim=-1)
    return second - best > 1e-5 * second


def clear_in_every_stage(latents: Tensor, codebooks: Tensor) -> Tensor:
    """Which tokens are clear in each stage of a greedy search."""
    keep = torch.ones(len(latents), dtype=torch.bool)
    for codebook in codebooks:
        keep &= clear(latents, codebook)
        latents = latents - codebook[torch.cdist(latents, codebook).argmin(dim=-1)]
    return keep


def clearly_rounded(values: Tensor) -> Tensor:
    """Which tokens lie further than the margin from a half-integer in every channel."""
    return ((values - values.floor() - 0.5).abs() > 1e-5).all(dim=-1)
