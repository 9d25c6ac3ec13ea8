"""Settles everything about a run before it starts: data, judge, device, protocol."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.command_line import UsageError
from bench.conf.operating_point import OperatingPoint, resolve
from bench.conf.schema import BenchConfig, name_and_options
from bench.data import ImageData, load_data, tune_split
from bench.evaluate import choose_perceptual_metric
from bench.jobs.protocol import protocol
from bench.metrics import Extractor
from bench.metrics.by_name import check_metrics, metrics_by_name
from bench.metrics.extractor import choose_extractor
from bench.metrics.request import RequestedMetric
from bench.record import canonical_sha256, table_name
from models import PerceptualDistance, build_discriminator, build_perceptual


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything about a run that is settled before it starts."""

    config: BenchConfig
    point: OperatingPoint
    data: ImageData
    extractor: Extractor
    perceptual: PerceptualDistance | None
    metrics: list[RequestedMetric]
    device: torch.device
    autocast: bool
    protocol: dict[str, Any]
    command: str

    @property
    def label(self) -> str:
        """The name of this run in messages."""
        return f"{self.point.name} seed {self.config.seed} at {self.config.rate:g} bits"

    @property
    def run(self) -> str:
        """Identity of the run: its table, quantizer, operating point and seed.

        A new option of a method does not change the identity of runs that do not use it.
        """
        digest = canonical_sha256([self.point.name, self.point.label])[:8]
        return f"{table_name(self.protocol)}-{self.point.name}-{digest}-seed{self.config.seed}"

    @property
    def directory(self) -> Path:
        """Checkpoint, log and record of this run."""
        return Path(self.config.runs) / self.run

    @property
    def records(self) -> Path:
        """The folder of all records."""
        return Path(self.config.leaderboards) / "records"


def prepare(config: BenchConfig, command: str) -> Job:
    """Settles everything before a run starts, so that mistakes show in the first second.

    Raises:
        UsageError, DataError, FileNotFoundError, ValueError: says what to type or fetch.
    """
    point = resolve(config.quantizer, config.rate)
    device = _device(config.device)
    autocast = config.precision == "bfloat16" or (
        config.precision == "auto" and device.type == "cuda"
    )
    data = images_of(config)
    if config.split == "tune":
        data = tune_split(data)
    extractor = choose_extractor(config.extractor)
    perceptual = choose_perceptual_metric(config.perceptual_metric)
    metrics = metrics_by_name(config.metrics, extractor=extractor)
    check_metrics(metrics, data.test.image(0, None)[None], count=len(data.test))
    _check_discriminator(config.recipe.discriminator)
    name, options = name_and_options("recipe.losses.perceptual", config.recipe.losses.perceptual)
    shared = protocol(
        config,
        data,
        extractor=extractor,
        perceptual_loss=build_perceptual(name, **options),
        perceptual_metric=perceptual,
        metrics=metrics,
        device_kind=device.type,
        precision="bfloat16" if autocast else "float32",
        downsampling=2 ** (len(config.recipe.frame.multipliers) - 1),
    )
    return Job(
        config=config,
        point=point,
        data=data,
        extractor=extractor,
        perceptual=perceptual,
        metrics=metrics,
        device=device,
        autocast=autocast,
        protocol=shared,
        command=command,
    )


def images_of(config: BenchConfig) -> ImageData:
    """The data set of a run; all jobs of a sweep share it in memory."""
    options = json.dumps(config.data.options, sort_keys=True)  # hashable, for the cache
    return _load_data(config.data.name, config.recipe.image_size, config.data.root, options)


def _check_discriminator(choice: Mapping[str, Any]) -> None:
    """Builds it once, so that a mistyped option leaves no record of a failed run."""
    with torch.random.fork_rng(devices=[]):
        try:
            build_discriminator(**choice)
        except (TypeError, ValueError) as error:
            raise UsageError(f"recipe.discriminator: {error}") from error


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("device=cuda, but torch finds no CUDA device; type device=cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@functools.lru_cache(maxsize=1)
def _load_data(name: str, image_size: int, root: str | None, options: str) -> ImageData:
    return load_data(name, image_size=image_size, root=root, **json.loads(options))
