"""Dot products of many rows, as fast as the machine has them or as precise as is asked.

All but the precision is about speed alone: a product may be rounded otherwise, and nothing more.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class _DotProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        return _by_onednn(left, right)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        left, right = ctx.saved_tensors
        needs_left, needs_right = ctx.needs_input_grad
        return (
            _by_onednn(grad, right.T) if needs_left else None,
            _by_onednn(grad.T, left.T) if needs_right else None,
        )


def dot_products(left: Float[Tensor, "n k"], right: Float[Tensor, "m k"]) -> Float[Tensor, "n m"]:
    """`left @ right.T`, in float32 by oneDNN where it is faster: that of a compiled linear layer.

    On a CPU `torch.mm` calls MKL, which leaves vectors of 512 bits unused on processors of AMD and
    then takes twice as long as oneDNN. On those of Intel oneDNN takes up to three times as long.
    """
    if torch.compiler.is_compiling() or not (_mkl_is_slow() and _onednn_can(left, right)):
        return left @ right.T
    return _DotProducts.apply(left, right) if torch.is_grad_enabled() else _by_onednn(left, right)


@cache
def _mkl_is_slow() -> bool:
    """Whether this is a processor of AMD."""
    facts = Path("/proc/cpuinfo")
    return "AuthenticAMD" in (facts.read_text() if facts.exists() else platform.processor())


def _onednn_can(left: Tensor, right: Tensor) -> bool:
    float32_of_a_cpu = left.device.type == "cpu" and left.dtype == right.dtype == torch.float32
    some = left.numel() > 0 and right.numel() > 0
    return float32_of_a_cpu and some and torch.backends.mkldnn.is_available()


def _by_onednn(left: Tensor, right: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")


@contextmanager
def products_in(backend: Any, precision: str) -> Iterator[None]:
    """Matrix products in "ieee" or "tf32", whatever `set_float32_matmul_precision` allows.

    Args:
        backend: `torch.backends.mkldnn.matmul` or `torch.backends.cuda.matmul`.
        precision: of float32 factors.
    """
    before = backend.fp32_precision
    try:
        backend.fp32_precision = precision
        yield
    finally:
        backend.fp32_precision = before


@cache
def keep_freed_memory() -> None:
    """Asks the C library to keep the memory of freed tiles, instead of faulting it in again.

    glibc gives freed memory back above twice the largest block that it saw freed, of at most 32
    MiB. This block of zeros is never touched, so it takes no memory itself.
    """
    bytes(31 << 20)
