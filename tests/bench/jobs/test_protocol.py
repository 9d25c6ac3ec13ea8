"""The hash of a table changes with everything that moves its numbers, and with nothing else."""

import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from bench.conf.compose import compose
from bench.conf.schema import BenchConfig, LossConfig
from bench.data import DATA_SETS, load_data
from bench.jobs.prepare import prepare
from bench.jobs.protocol import protocol, recorded_config
from bench.metrics.by_name import metrics_by_name
from bench.metrics.extractor import EXTRACTORS, choose_extractor
from bench.record import read_records
from bench.report.metric import metric
from models import DISCRIMINATORS, PERCEPTUAL, PerceptualDistance


def distance(weight: float = 0.5) -> PerceptualDistance:
    network = nn.Linear(1, 1)
    nn.init.constant_(network.weight, weight)
    nn.init.zeros_(network.bias)
    return PerceptualDistance(name="lpips_rand", network=network, min_side=1)


@pytest.fixture(scope="module")
def parts(picture_folder):
    """What a protocol needs besides a configuration."""
    return {
        "data": load_data("folder", image_size=32, root=str(picture_folder)),
        "extractor": choose_extractor("scattering"),
        "perceptual_loss": distance(),
        "perceptual_metric": distance(),
        "device_kind": "cpu",
        "precision": "float32",
        "downsampling": 4,
    }


@pytest.fixture(scope="module")
def key(parts):
    """The hash of the protocol of a run, with another configuration or other parts."""
    usual = compose(["quantizer=fsq"])

    def build(config: BenchConfig = usual, **changes) -> str:
        changed = {
            name: replace(parts[name], **change) if isinstance(change, dict) else change
            for name, change in changes.items()
        }
        return protocol(config, **(parts | changed))["sha256"]

    build.config = usual
    return build


def edited(part: Any, key: str, value: Any) -> Any:
    """A configuration with another value, e.g. of `recipe.steps`."""
    name, _, rest = key.partition(".")
    if isinstance(part, dict):
        return part | {name: value}
    return replace(part, **{name: edited(getattr(part, name), rest, value) if rest else value})


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
    ("name", "value"),
    [
        ("rate", 12.0),
        ("budget", "M"),
        ("recipe.steps", 7),
        ("recipe.batch_size", 7),
        ("recipe.optimizer.learning_rate", 0.5),
        ("recipe.losses.perceptual_weight", 0.5),
        ("recipe.frame.channels", 64),
        ("recipe.discriminator.channels", 64),
        ("recipe.discriminator", {"name": "none"}),
        ("ruleset", "tuned"),
        ("trials", 5),
        ("compile", True),
    ],
)
def test_another_recipe_rate_budget_or_ruleset_changes_the_key(name, value, key):
    assert key(edited(key.config, name, value)) != key()


@pytest.mark.parametrize("name", ["VERSION", "evaluation_code_sha256"])
def test_another_version_or_judge_changes_the_key(name, key, monkeypatch):
    before = key()
    monkeypatch.setattr(f"bench.jobs.protocol.{name}", "0" if name == "VERSION" else lambda: "0")
    assert key() != before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quantizer", {"name": "gsq"}),
        ("seed", 7),
        ("recipe.log_every", 7),
        ("recipe.checkpoint_every", 7),
        ("data.workers", 7),
        ("tensorboard", True),
        ("retry", True),
        ("runs", "elsewhere"),
        ("leaderboards", "elsewhere"),
    ],
)
def test_the_method_the_seed_and_the_folders_do_not(name, value, key):
    assert key(edited(key.config, name, value)) == key()


def test_equal_weights_have_equal_keys(key):
    assert key(perceptual_loss=distance(), perceptual_metric=distance()) == key()


@dataclass
class GrownLosses(LossConfig):
    new: list[int] = field(default_factory=lambda: [1, 2])


@dataclass
class GrownConfig(BenchConfig):
    new: str = "as before"


def test_a_new_field_of_the_schema_counts_only_if_it_is_not_at_its_default(key):
    def grown(**top) -> BenchConfig:
        return GrownConfig(**vars(key.config), **top)

    def grown_below(**below) -> BenchConfig:
        losses = GrownLosses(**vars(key.config.recipe.losses), **below)
        return edited(key.config, "recipe.losses", losses)

    for config in (grown(), grown_below()):
        assert key(config) == key()
        assert recorded_config(config) == recorded_config(key.config)
    assert len({key(), key(grown(new="other")), key(grown_below(new=[1]))}) == 3


def test_a_new_option_of_a_part_counts_only_if_it_is_not_at_its_default(key, monkeypatch):
    def patchgan(*, channels: int = 64, layers: int = 3, new: tuple[int, ...] = (1, 2)): ...

    before = key()
    patchgan.__module__ = "models.patchgan"
    monkeypatch.setitem(DISCRIMINATORS._factories, "patchgan", patchgan)
    as_before = edited(key.config, "recipe.discriminator.new", [1, 2])
    assert key() == key(as_before) == before
    assert recorded_config(as_before) == recorded_config(key.config)
    assert key(edited(key.config, "recipe.discriminator.new", [1])) != before


def test_a_plugin_counts_by_name_options_and_source(tmp_path, key, monkeypatch):
    source = tmp_path / "part_plugin.py"
    source.write_text("def part(*, size: int = 3): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    import part_plugin

    for registry in (DISCRIMINATORS, PERCEPTUAL, EXTRACTORS, DATA_SETS):
        monkeypatch.setitem(registry._factories, "mine", part_plugin.part)
    configs = [
        edited(key.config, "recipe.discriminator", {"name": "mine"}),
        edited(key.config, "recipe.discriminator", {"name": "mine", "size": 4}),
        edited(key.config, "recipe.losses.perceptual", "mine"),
        edited(key.config, "recipe.losses.perceptual", {"name": "mine", "size": 4}),
        edited(key.config, "extractor", "mine"),
        edited(key.config, "extractor", {"name": "mine", "size": 4}),
        edited(key.config, "data.name", "mine"),
        edited(edited(key.config, "data.name", "mine"), "data.options", {"size": 4}),
    ]
    before = {key(config) for config in configs}
    assert len(before | {key()}) == 9
    usual = edited(key.config, "recipe.losses.perceptual", {"name": "mine", "size": 3})
    assert key(usual) in before
    source.write_text("def part(*, size: int = 3): return None\n")
    assert not before & {key(config) for config in configs}


@pytest.mark.usefixtures("forget_plugins")
def test_extra_metrics_count_by_description_and_source(parts, key):
    @metric("edge_error", label="edge error")
    def edge_error(images, reconstruction): ...

    names = ["ms_ssim", "edge_error", "precision"]
    metrics = metrics_by_name(names, extractor=parts["extractor"])
    described = protocol(key.config, **parts, metrics=metrics)["metrics"]
    assert described["edge_error"]["label"] == "edge error"
    assert all(len(one["source_sha256"]) == 64 for one in described.values())
    assert len({key(), key(metrics=metrics), key(metrics=metrics[:1])}) == 3
    assert key(metrics=[]) == key()


def test_published_commands_still_lead_to_their_tables():
    records, problems = read_records(Path("leaderboards/records"))
    assert not problems
    tables = {
        (r.protocol["budget"], r.protocol["ruleset"]): r
        for r in records
        if "bench.run" in r.command
    }
    assert len(tables) == 3
    judge = ["device=cpu", "extractor=scattering", "perceptual_metric=lpips_rand"]
    for record in tables.values():
        words = shlex.split(record.command)[3:]
        job = prepare(compose([*words, *judge]), record.command)
        assert (job.run, job.protocol) == (record.run, record.protocol)
        assert recorded_config(job.config).keys() == record.config.keys()
