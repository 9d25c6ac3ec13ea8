"""A harness small enough for tests: twelve images of 32 px, a frame of a few thousand weights."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench import run as bench_run
from bench.conf.compose import compose
from bench.conf.schema import BenchConfig
from bench.jobs import launch

SMALL = (
    "recipe=smoke",
    "recipe.steps=4",
    "recipe.batch_size=4",
    "recipe.log_every=2",
    "recipe.checkpoint_every=2",
    "recipe.frame.channels=8",
    "recipe.frame.feature_channels=8",
    "recipe.frame.norm_groups=4",
    "recipe.discriminator.channels=4",
    "recipe.losses.perceptual=none",
    "perceptual_metric=none",
    "extractor=scattering",
    "device=cpu",
)


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training and four test images, smooth with some noise."""
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for part, count in {"train": 8, "test": 4}.items():
        (root / part).mkdir()
        for number in range(count):
            coarse = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC)
            picture.save(root / part / f"{number}.png")
    return root


@pytest.fixture(autouse=True)
def denormals_as_before() -> Iterator[None]:
    """Jobs flush denormals for the whole process; later tests must not notice."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def arguments(tmp_path: Path, picture_folder: Path) -> list[str]:
    """Overrides of a run that takes a second and writes into `tmp_path`."""
    places = [f"runs={tmp_path / 'runs'}", f"leaderboards={tmp_path / 'leaderboards'}"]
    return [*SMALL, "data=folder", f"data.root={picture_folder}", "data.workers=0", *places]


@pytest.fixture
def configure(arguments: list[str]) -> Callable[..., BenchConfig]:
    """Composes the configuration of such a run, with more overrides."""
    return lambda *overrides: compose([*arguments, *overrides])


@pytest.fixture
def bench(arguments: list[str], monkeypatch: pytest.MonkeyPatch):
    """Runs the main command in this process with small settings; returns its exit code."""
    here = lambda task, *arguments: task(*arguments)  # noqa: E731
    monkeypatch.setattr(launch, "run_in_fresh_process", here)
    return lambda *overrides: bench_run.main([*arguments, *overrides])


@pytest.fixture
def forget_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics and extractors that a test or `judge_plugin` registers are unknown after it."""
    from bench.metrics.extractor import EXTRACTORS
    from bench.report.metric import METRICS

    monkeypatch.setattr(EXTRACTORS, "_factories", dict(EXTRACTORS._factories))
    metrics = METRICS.copy()
    for module in ("bench.report.metric", "bench.metrics.by_name"):
        monkeypatch.setattr(f"{module}.METRICS", metrics)
    monkeypatch.delitem(sys.modules, "judge_plugin", raising=False)
