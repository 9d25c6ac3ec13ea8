"""The contract of every quantizer: a continuous latent goes in, a discrete one comes out."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

_deferred: ContextVar[list[Tensor] | None] = ContextVar("deferred finite checks", default=None)


class NonFiniteLatentError(ValueError):
    """A latent holds NaN or infinity, or a code holds NaN, so no code is the nearest."""


@contextmanager
def deferred_finite_checks() -> Iterator[Callable[[], None]]:
    """Inside it, `Quantizer.forward` checks that its input is finite without synchronizing.

    Yields:
        A function that synchronizes with the device and raises NonFiniteLatentError if a latent
        since its last call held NaN or infinity. Call it where you synchronize anyway, and before
        you keep anything computed from the latents. Compiled code checks as it does without this.
    """
    results: list[Tensor] = []

    def check() -> None:
        passed = torch.stack(results).tolist() if results else []
        results.clear()
        if not all(passed):
            raise NonFiniteLatentError(
                f"the latent holds NaN or infinity in {passed.count(False)} of the last "
                f"{len(passed)} forward passes, first in number {passed.index(False) + 1}; look "
                "for a diverging loss or an unscaled input upstream"
            )

    token = _deferred.set(results)
    try:
        yield check
    finally:
        _deferred.reset(token)


@dataclass(frozen=True)
class QuantizerOutput:
    """The result of one call to a quantizer.

    Attributes:
        quantized: what the decoder sees; same shape and dtype as the input. Its value is exactly
            `dequantize(indices)`; its gradient is that of the method's estimator.
        indices: one integer per codebook and position, in [0, codebook_sizes[k]).
        losses: scalars to add to the training loss, already weighted; their sum is the
            method's whole contribution. Empty for methods without an auxiliary loss.
    """

    quantized: Float[Tensor, "b c *spatial"]
    indices: Int[Tensor, "b k *spatial"]
    losses: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)


class Quantizer(nn.Module, ABC):
    """Maps a continuous latent to a discrete one, and back.

    A subclass is final: compose quantizers, never inherit from one. A quantizer knows nothing of
    images, optimizers, metrics or configuration files. The channel is axis 1; any number of
    spatial axes may follow.

    Class attributes:
        control: why a method is not a competitor but a bound for the others (an upper bound
            without quantization, a lower bound with random codes); None for every real method.
        breaks: laws of the contract that the method breaks on purpose, each with its reason; the
            contract tests skip these laws with that reason.
    """

    control: ClassVar[str | None] = None
    breaks: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *, latent_channels: int, codebook_sizes: tuple[int, ...]) -> None:
        super().__init__()
        if latent_channels < 1:
            raise ValueError(f"latent_channels must be at least 1, got {latent_channels}")
        self.latent_channels = latent_channels
        self.codebook_sizes = codebook_sizes

    def forward(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        """Checks the input and pins the precision to float32, once for every method.

        Raises:
            ValueError: `z` does not have `latent_channels` channels.
            NonFiniteLatentError: `z` holds NaN or infinity, or overflows in float32.
        """
        if z.ndim < 2 or z.shape[1] != self.latent_channels:
            raise ValueError(
                f"{type(self).__name__} expects {self.latent_channels} latent channels on axis 1, "
                f"got an input of shape {tuple(z.shape)}"
            )
        with without_autocast(z.device.type):  # bfloat16 cannot count past 256
            latent = z.float()
            _refuse_non_finite(latent)  # after the cast: a float64 may overflow in it
            output = self.quantize(latent)
        return replace(output, quantized=output.quantized.to(z.dtype))

    @abstractmethod
    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        """Quantizes a float32 latent. In eval mode: no random numbers, no change of state."""

    @abstractmethod
    def dequantize(self, indices: Int[Tensor, "b k *spatial"]) -> Float[Tensor, "b c *spatial"]:
        """Looks codes up: `dequantize(q(z).indices)` is bit-equal to `q(z).quantized`."""

    def update(self) -> None:
        """Updates state that no gradient trains; call it after every optimizer step."""

    @property
    def bits_per_position(self) -> float:
        """Rate of a fixed-length code: log2 of the number of different codes at one position."""
        return sum(math.log2(size) for size in self.codebook_sizes)

    def extra_repr(self) -> str:
        """The hyper-parameters that are stored as plain values."""
        plain = {
            name: value
            for name, value in vars(self).items()
            if isinstance(value, int | float | str | tuple) and not name.startswith("_")
        }
        return ", ".join(f"{name}={value!r}" for name, value in plain.items() if name != "training")


def without_autocast(device_type: str) -> AbstractContextManager[None]:
    """Computes in the dtypes of the tensors; entering autocast takes longer than this check."""
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def _refuse_non_finite(z: Float[Tensor, "b c *spatial"]) -> None:
    """Raises for NaN and infinity; one pass over `z`, because both survive a sum, min and max.

    Compiled code stops too, but with another error: on a CPU with a RuntimeError or, if inductor
    checks inside a parallel loop, by ending the process; on CUDA with a device assertion.
    """
    if z.numel() == 0:
        return
    z = z.detach()
    if torch.compiler.is_compiling():
        torch._assert_async(_finite(z), "the latent holds NaN or infinity")
    elif (deferred := _deferred.get()) is not None:
        deferred.append(_finite(z))
    elif not are_finite(z):
        bad = z.numel() - int(torch.isfinite(z).sum())
        raise NonFiniteLatentError(
            f"the latent of shape {tuple(z.shape)} holds NaN or infinity in {bad} of {z.numel()} "
            "elements; look for a diverging loss or an unscaled input upstream"
        )


def are_finite(numbers: Float[Tensor, "*shape"]) -> bool:
    """Whether all are finite: NaN and infinity survive a sum, but a sum may also overflow."""
    return math.isfinite(float(numbers.sum())) or bool(_finite(numbers))


def _finite(numbers: Float[Tensor, "*shape"]) -> Bool[Tensor, ""]:
    """Like `are_finite`, for at least one number, but returns a tensor and does not synchronize."""
    low, high = torch.aminmax(numbers)
    return torch.isfinite(low) & torch.isfinite(high)
