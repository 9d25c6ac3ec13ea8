"""The real training step of `bench.training.trainer`, one call at a time."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from bench.conf.methods import node, rates
from bench.conf.operating_point import OperatingPoint, resolve
from bench.conf.schema import BenchConfig, parse, register_schema
from bench.data import Batch, ImageSet, load_data, training_batches
from bench.training.networks import Modules, build_modules
from bench.training.seeds import stream_seed
from bench.training.trainer import Trainer

_CONF = str(Path(__file__).parent.parent / "conf")
_RATE = 10.0  # bits per position; methods without it take their nearest


def configuration(quantizer: str, *overrides: str) -> BenchConfig:
    """A run's configuration, as `bench.run` composes it; batches are read in this process."""
    register_schema()
    with initialize_config_dir(_CONF, version_base="1.3"):
        words = [f"quantizer={quantizer}", "data.workers=0", *overrides]
        return parse(compose("config", overrides=words))


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
    with torch.random.fork_rng():  # `resolve` builds a quantizer
        point = resolve(config.quantizer, config.rate)
    images = _images(config.data.name, config.recipe.image_size, config.data.root)
    return Run(config, point, images, device)


@functools.lru_cache(maxsize=1)
def _images(name: str, image_size: int, root: str | None) -> ImageSet:
    """All runs of a section share one data set in memory."""
    return load_data(name, image_size=image_size, root=root).train


def quantizer_alone(run: Run) -> Callable[[], None]:
    """Forward, backward and update of a run's quantizer, on normal latents of a batch's shape."""
    recipe = run.config.recipe
    with torch.random.fork_rng():
        autoencoder = run.modules().autoencoder
    quantizer = autoencoder.bottleneck.quantizer.to(run.device).train()
    side = recipe.image_size // autoencoder.downsampling
    shape = (recipe.batch_size, quantizer.latent_channels, side, side)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(shape, generator=generator).to(run.device).requires_grad_()

    def call() -> None:
        z.grad = None
        quantizer.zero_grad(set_to_none=True)
        output = quantizer(z)
        sum(output.losses.values(), output.quantized.sum()).backward()
        quantizer.update()

    return call


class Stepper:
    """Does one training step a call, on batches read before."""

    def __init__(self, run: Run, batches: list[Batch], directory: Path) -> None:
        self.run = run
        self._batches = batches
        self._trainer = Trainer(
            run.config,
            run.modules(),
            run.images,
            directory=directory,
            device=run.device,
            autocast=run.autocast,
            name=run.point.name,
        )

    def __call__(self) -> None:
        batch = self._batches[self._trainer.step % len(self._batches)]
        self._trainer.step_on(batch)

    def forget(self) -> None:
        """Drops what the log would have been made of."""
        self._trainer.step_window.restart()


@contextmanager
def steppers(runs: dict[str, Run], batches: int) -> Iterator[dict[str, Stepper]]:
    """One stepper a run, all on the same batches; the random generators stay as they were."""
    with TemporaryDirectory() as folder, torch.random.fork_rng(devices=_devices(runs)):
        shared = list(next(iter(runs.values())).batches(batches))
        yield {
            name: Stepper(run, shared, Path(folder) / str(number))
            for number, (name, run) in enumerate(runs.items())
        }


def _devices(runs: dict[str, Run]) -> list[Any]:
    return sorted({run.device.index or 0 for run in runs.values() if run.device.type == "cuda"})
