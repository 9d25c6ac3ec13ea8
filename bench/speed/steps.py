"""Training steps as `bench.training.trainer` does them, timed in turns."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from bench.conf.compose import compose
from bench.conf.methods import node, rates
from bench.conf.operating_point import OperatingPoint, resolve
from bench.conf.schema import BenchConfig
from bench.data import Batch, ImageSet, training_batches
from bench.jobs.prepare import images_of
from bench.speed.comparison import Grid, Measurement, measure
from bench.speed.page import Call, MakeCall
from bench.training.interrupt import StopRequest
from bench.training.networks import Modules, build_modules
from bench.training.seeds import stream_seed
from bench.training.trainer import Trainer
from quantizers import Quantizer
from quantizers.base import deferred_finite_checks

WARM_UP = 2  # steps; the second is the first measured call
_RATE = 10.0  # bits per position; methods without it take their nearest


def configuration(quantizer: str, *overrides: str) -> BenchConfig:
    """A run's configuration, as `bench.run` composes it; batches are read in this process."""
    return compose([f"quantizer={quantizer}", "data.workers=0", *overrides])


def usual_recipe(device: torch.device) -> tuple[str, ...]:
    """`base` on a GPU, `tiny` on a CPU, as overrides."""
    return ("recipe=base",) if device.type == "cuda" else ("recipe=tiny",)


def nearest_rate(name: str) -> float:
    """The operating point of a method that is nearest to 10 bits."""
    return min(rates(node(name)), key=lambda rate: abs(rate - _RATE))


@dataclass(frozen=True)
class Run:
    """What a training run is made of."""

    config: BenchConfig
    point: OperatingPoint
    images: ImageSet
    device: torch.device

    @property
    def autocast(self) -> bool:
        return self.device.type == "cuda"

    def modules(self) -> Modules:
        """Fresh networks."""
        return build_modules(self.config, self.point)

    def batches(self, count: int) -> Iterator[Batch]:
        """The first batches of the run."""
        return training_batches(
            self.images,
            batch_size=self.config.recipe.batch_size,
            start_step=0,
            stop_step=count,
            data_seed=stream_seed(self.config.seed, "data"),
            augment_seed=stream_seed(self.config.seed, "augment"),
            pin_memory=self.device.type == "cuda",
        )


def prepare(config: BenchConfig, device: torch.device) -> Run:
    """Resolves the operating point and opens the data."""
    point = resolve(config.quantizer, config.rate)
    return Run(config, point, images_of(config).train, device)


def compare_steps(
    runs: Mapping[str, Run],
    grid: Grid[Any],
    *,
    others: Mapping[str, MakeCall] | None = None,
    repeat: int = 1,
    required: Sequence[str] = (),
    stop: StopRequest | None = None,
) -> dict[str, Measurement]:
    """Training steps of several runs, and other contenders, in turns, all on the same batches.

    `measure` explains `repeat`, `required` and `stop`. The global random generators stay as they
    were. On CUDA the checks of the latents are deferred, as in the trainer.
    """
    first = next(iter(runs.values()))
    on_cuda = first.device.type == "cuda"
    batches = list(first.batches(WARM_UP + grid.rounds))
    devices = [first.device.index or 0] if on_cuda else []
    with (
        TemporaryDirectory() as folder,
        torch.random.fork_rng(devices=devices),
        deferred_finite_checks() if on_cuda else nullcontext(lambda: None) as check_latents,
    ):
        steps = {
            label: functools.partial(step_call, run, batches, Path(folder) / str(number))
            for number, (label, run) in enumerate(runs.items())
        }
        measured = measure(
            steps | dict(others or {}),
            grid,
            first.device,
            warm_up=WARM_UP - 1,
            repeat=repeat,
            once=False,
            required=required,
            stop=stop,
        )
        check_latents()
    return measured


def step_call(run: Run, batches: Sequence[Batch], directory: Path) -> Call:
    """One training step on batches read before, without log and checkpoint."""
    trainer = Trainer(
        run.config,
        run.modules(),
        run.images,
        directory=directory,
        device=run.device,
        autocast=run.autocast,
        name=run.point.name,
    )

    def call() -> None:
        trainer.step_on(batches[trainer.step % len(batches)])
        trainer.step_window.restart()  # drops what the log would have been made of

    return call


def quantizer_call(run: Run) -> Call:
    """Forward, backward and update of only the quantizer, on normal latents of a batch's shape."""
    recipe = run.config.recipe
    with torch.random.fork_rng():
        autoencoder = run.modules().autoencoder
    quantizer = autoencoder.bottleneck.quantizer.to(run.device).train()
    side = recipe.image_size // autoencoder.downsampling
    shape = (recipe.batch_size, quantizer.latent_channels, side, side)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(run.device)
    return our_pass(quantizer, latents, latents.new_ones(()), update=True)


def our_pass(quantizer: Quantizer, latents: Tensor, upstream: Tensor, *, update: bool) -> Call:
    """Forward and backward with this gradient of what comes out, and `update` if asked."""
    z = latents.clone().requires_grad_()

    def call() -> Tensor:
        z.grad = None
        quantizer.zero_grad(set_to_none=True)
        output = quantizer(z)
        loss = (output.quantized * upstream).sum()
        sum(output.losses.values(), loss).backward()
        if update:
            quantizer.update()
        return output.indices.movedim(1, -1).flatten(0, -2)

    return call
