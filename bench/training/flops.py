"""Floating-point operations of one training step, counted by torch's FLOP counter.

The counter sees matrix products and convolutions, forward and backward, of autoencoder, perceptual
loss and discriminator, and the nearest-code search by its formula. Element-wise work is not
counted. The step runs once on copies, before training, and its result is thrown away.
"""

import copy
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.conf.schema import BenchConfig
from bench.data import ImageSet, training_batches
from bench.training.networks import Modules
from bench.training.seeds import stream_seed
from bench.training.trainer import Trainer


def train_step_flops(
    config: BenchConfig, modules: Modules, images: ImageSet, *, device: torch.device, autocast: bool
) -> int:
    """FLOPs of the first training step; `modules` and the random streams stay as they are."""
    copies = Modules(
        copy.deepcopy(modules.autoencoder),
        copy.deepcopy(modules.discriminator),
        copy.deepcopy(modules.perceptual),
    )
    (batch,) = training_batches(
        images,
        batch_size=config.recipe.batch_size,
        start_step=0,
        stop_step=1,
        data_seed=stream_seed(config.seed, "data"),
        augment_seed=stream_seed(config.seed, "augment"),
    )
    with tempfile.TemporaryDirectory() as empty, torch.random.fork_rng():
        trainer = Trainer(
            replace(config, compile=False),  # the counter sees operators of torch alone
            copies,
            images,
            directory=Path(empty),
            device=device,
            autocast=autocast,
            name="flops",
        )
        with flop_counter() as counter:
            trainer._train_step(batch)  # without log and checkpoint
    return counter.get_total_flops()


def flop_counter() -> FlopCounterMode:
    """Counts within its context what this module says; `get_total_flops` has the sum."""
    own = {
        torch.ops.quantizers.search: _search_flops,
        torch.ops.mkldnn._linear_pointwise: _product_flops,
    }
    return FlopCounterMode(display=False, custom_mapping=own)


def _search_flops(latents: Any, codebook: Any, *_: Any, **__: Any) -> int:
    """Two operations a channel for every latent and code; arguments are shapes."""
    return 2 * math.prod(latents) * int(codebook[-2])


def _product_flops(left: Any, right: Any, *_: Any, **__: Any) -> int:
    """The same for rows and the transpose of rows: `quantizers.nearest.dot_products`."""
    return 2 * math.prod(left) * int(right[0])
