"""Exponential moving average of the weights: the judged model."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class WeightAverage(Generic[M]):
    """Keeps an averaged copy of a module.

    The decay rises from 0.1 to `decay` as (1 + t) / (10 + t), the warm-up of TensorFlow's
    ExponentialMovingAverage, so a short run is not judged by its initial weights. After
    9 / (1 - decay) steps it is constant, as in the GSQ paper. Buffers are copied, not averaged.
    """

    def __init__(self, module: M, *, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"the decay of the weight average must be in [0, 1), got {decay}")
        self.module: M = copy.deepcopy(module).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Moves the average towards `module`; `step` counts from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages: list[Tensor] = list(self.module.parameters())
        weights: list[Tensor] = list(module.parameters())
        torch._foreach_lerp_(averages, weights, 1 - decay)
        for average, buffer in zip(self.module.buffers(), module.buffers(), strict=True):
            average.copy_(buffer)
