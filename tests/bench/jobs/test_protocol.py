"""The key of a table changes with everything that moves its numbers, and with nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from torch import nn

from bench.conf.schema import parse, register_schema
from bench.data import load_data
from bench.jobs.protocol import protocol
from bench.metrics.extractor import choose_extractor
from models import PerceptualDistance


def distance(weight: float = 0.5) -> PerceptualDistance:
    network = nn.Linear(1, 1)
    nn.init.constant_(network.weight, weight)
    nn.init.zeros_(network.bias)
    return PerceptualDistance(name="small", network=network, min_side=1)


@pytest.fixture(scope="module")
def key(picture_folder):
    """The hash of the protocol of a run with other options or other parts."""
    data = load_data("folder", image_size=32, root=str(picture_folder))
    given = {
        "data": data,
        "extractor": choose_extractor("scattering"),
        "perceptual_loss": distance(),
        "perceptual_metric": distance(),
        "device_kind": "cpu",
        "precision": "float32",
        "downsampling": 4,
    }
    register_schema()

    def build(*overrides: str, **changes) -> str:
        folder = str(Path("bench/conf").resolve())
        with initialize_config_dir(config_dir=folder, version_base="1.3"):
            config = parse(compose("config", overrides=["quantizer=fsq", *overrides]))
        parts = given | {
            name: replace(given[name], **change) if isinstance(change, dict) else change
            for name, change in changes.items()
        }
        return protocol(config, **parts)["sha256"]

    return build


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"fingerprint": "of other images"}},
        {"data": {"name": "renamed"}},
        {"extractor": {"identity": "scattering-v2-00000000"}},
        {"extractor": {"metric_key": "rfid"}},
        {"perceptual_loss": distance(0.25)},
        {"perceptual_loss": None},
        {"perceptual_metric": distance(0.25)},
        {"perceptual_metric": None},
        {"device_kind": "cuda"},
        {"precision": "bfloat16"},
        {"downsampling": 8},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_data_weights_and_machines_change_the_key(change, key):
    assert key(**change) != key()


@pytest.mark.parametrize(
    "overrides",
    [
        ["rate=12"],
        ["budget=M"],
        ["recipe.steps=7"],
        ["recipe.batch_size=7"],
        ["recipe.optimizer.learning_rate=0.5"],
        ["recipe.losses.perceptual_weight=0.5"],
        ["recipe.frame.channels=64"],
        ["recipe.discriminator.channels=64"],
        ["ruleset=tuned", "trials=5"],
        ["compile=true"],
    ],
    ids=" ".join,
)
def test_another_recipe_rate_budget_or_ruleset_changes_the_key(overrides, key):
    assert key(*overrides) != key()


@pytest.mark.parametrize("name", ["VERSION", "evaluation_code_sha256"])
def test_another_version_or_judge_changes_the_key(name, key, monkeypatch):
    before = key()
    monkeypatch.setattr(f"bench.jobs.protocol.{name}", "0" if name == "VERSION" else lambda: "0")
    assert key() != before


@pytest.mark.parametrize(
    "overrides",
    [
        ["quantizer=gsq"],
        ["seed=7"],
        ["recipe.log_every=7"],
        ["recipe.checkpoint_every=7"],
        ["data.workers=7"],
        ["tensorboard=true"],
        ["retry=true"],
        ["runs=elsewhere", "leaderboards=elsewhere"],
    ],
    ids=" ".join,
)
def test_the_method_the_seed_and_the_places_do_not(overrides, key):
    assert key(*overrides) == key()


def test_equal_weights_have_equal_keys(key):
    assert key(perceptual_loss=distance(), perceptual_metric=distance()) == key()
