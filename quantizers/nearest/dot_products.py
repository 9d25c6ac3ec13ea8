"""Dot products of many rows: with the fastest library, or in the precision that is asked for.

Everything here except `matmul_precision` only affects speed; results may differ by rounding.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

Precision = Literal["float32", "tf32", "bf16"]  # of the factors; sums are float32


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
    """`left @ right.T`; float32 on a CPU goes to oneDNN's linear layer where that is faster.

    On a CPU `torch.mm` calls MKL. On AMD processors MKL does not use 512-bit vectors and takes
    twice as long as oneDNN. On Intel processors oneDNN takes up to three times as long as MKL.
    """
    if torch.compiler.is_compiling() or not (_mkl_is_slow() and _onednn_can(left, right)):
        return left @ right.T
    return _DotProducts.apply(left, right) if torch.is_grad_enabled() else _by_onednn(left, right)


@cache
def _mkl_is_slow() -> bool:
    """Whether the processor is made by AMD."""
    facts = Path("/proc/cpuinfo")
    return "AuthenticAMD" in (facts.read_text() if facts.exists() else platform.processor())


def _onednn_can(left: Tensor, right: Tensor) -> bool:
    float32_on_cpu = left.device.type == "cpu" and left.dtype == right.dtype == torch.float32
    not_empty = left.numel() > 0 and right.numel() > 0
    return float32_on_cpu and not_empty and torch.backends.mkldnn.is_available()


def _by_onednn(left: Tensor, right: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")


@contextmanager
def matmul_precision(backend: Any, precision: str) -> Iterator[None]:
    """Overrides `torch.set_float32_matmul_precision` for one backend.

    Args:
        backend: `torch.backends.mkldnn.matmul` or `torch.backends.cuda.matmul`.
        precision: of float32 factors, "ieee" or "tf32".
    """
    before = backend.fp32_precision
    try:
        backend.fp32_precision = precision
        yield
    finally:
        backend.fp32_precision = before


@cache
def keep_freed_memory() -> None:
    """Makes the C library keep the memory of freed tiles, which avoids page faults.

    glibc returns freed memory above twice the largest block freed so far, of at most 32 MiB. This
    block of zeros is never touched, so it takes no memory itself.
    """
    bytes(31 << 20)
