"""Sums over all processes of a distributed run, with the gradient that data parallelism expects."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor


def is_distributed() -> bool:
    """Whether a process group runs, so sums over processes differ from those of one process."""
    return dist.is_available() and dist.is_initialized()


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return _all_reduced(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _all_reduced(grad)


def sum_over_processes(value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The sum of `value` over all processes; each must call it, and run its backward pass.

    The gradient is that of the sum of all processes' losses, not only of this process's loss. Let S
    be the sum of the values S_r of W processes, and L(S) the loss, which all compute alike. The
    backward pass of process r sums the W equal gradients, so `value` gets W dL/dS. Distributed data
    parallelism then averages the gradients of the parameters: sum_r (1/W) W dL/dS dS_r/dp = dL/dp,
    which is the gradient of one process that holds the whole batch.
    """
    return _Sum.apply(value) if is_distributed() else value


def mean_over_tokens(
    sums: Float[Tensor, "*shape"], tokens: int, *, all_processes: bool
) -> Float[Tensor, "*shape"]:
    """Sums over tokens divided by the number of tokens; 0 without tokens.

    With `all_processes` in a distributed run, the tokens of all processes count.
    """
    if all_processes and is_distributed():
        own = torch.cat([sums.flatten(), sums.new_tensor([tokens])])
        total = sum_over_processes(own)
        return total[:-1].view(sums.shape) / total[-1].detach().clamp_min(1)
    return sums / max(tokens, 1)


def add_processes(*values: Float[Tensor, "..."]) -> None:
    """Replaces each tensor with its sum over all processes, without a gradient."""
    if is_distributed():
        for value in values:
            dist.all_reduce(value)


def copy_first_process(*values: Float[Tensor, "..."]) -> None:
    """Replaces each tensor with that of the first process, without a gradient."""
    if is_distributed():
        for value in values:
            dist.broadcast(value, src=0)


def _all_reduced(value: Tensor) -> Tensor:
    total = value.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total
