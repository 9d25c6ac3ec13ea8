"""Floating-point operations of one training step, counted by torch's FLOP counter.

It counts matrix products and convolutions of autoencoder, perceptual loss and discriminator,
forward and backward, and the nearest-code search by its formula. Element-wise operations do not
count. The step runs once, before training, on copies that are thrown away.
"""

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.conf.schema import BenchConfig
from bench.data import ImageSet
from bench.training.networks import Modules
from bench.training.trainer import Trainer


def train_step_flops(
    config: BenchConfig, modules: Modules, images: ImageSet, *, device: torch.device, autocast: bool
) -> int:
    """FLOPs of the first training step; `modules` and the random streams stay as they are."""
    data = replace(config.data, workers=0)
    config = replace(config, compile=False, data=data)  # the counter sees only operators of torch
    with torch.random.fork_rng():
        trainer = Trainer(
            config,
            copy.deepcopy(modules),
            images,
            directory=Path(),  # nothing is written
            device=device,
            autocast=autocast,
            name="flops",
        )
        with flop_counter() as counter:
            trainer.step_on(next(trainer.batches()))
    return counter.get_total_flops()


def flop_counter() -> FlopCounterMode:
    """A context that counts as this module says; `get_total_flops` gives the sum."""
    formulas = {
        torch.ops.quantizers.search: _search_flops,
        torch.ops.mkldnn._linear_pointwise: _product_flops,
    }
    return FlopCounterMode(display=False, custom_mapping=formulas)


def _search_flops(latents: Any, codebook: Any, *_: Any, **__: Any) -> int:
    """Two operations per channel for every pair of latent and code; arguments are shapes."""
    return 2 * math.prod(latents) * int(codebook[-2])


def _product_flops(left: Any, right: Any, *_: Any, **__: Any) -> int:
    """Likewise for rows times transposed rows, as in `quantizers.nearest.dot_products`."""
    return 2 * math.prod(left) * int(right[0])
