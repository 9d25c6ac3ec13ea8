"""A small training run."""

from dataclasses import replace

import pytest
import torch

from bench.conf.operating_point import resolve
from bench.data import load_data
from bench.training.networks import build_modules
from bench.training.trainer import Trainer
from models import PerceptualDistance


@pytest.fixture
def trainer(configure, picture_folder, tmp_path):
    """Builds a trainer that continues from the checkpoint in its directory."""
    images = load_data("folder", image_size=32, root=str(picture_folder)).train

    def build(
        *overrides: str,
        directory: str = "run",
        device: str = "cpu",
        perceptual: PerceptualDistance | None = None,
    ) -> Trainer:
        config = configure(*overrides)
        modules = build_modules(config, resolve(config.quantizer, config.rate))
        trainer = Trainer(
            config,
            replace(modules, perceptual=perceptual),
            images,
            directory=tmp_path / directory,
            device=torch.device(device),
            autocast=config.precision == "bfloat16",
            name="test",
        )
        trainer.restore()
        return trainer

    return build
