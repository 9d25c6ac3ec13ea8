"""A plugin brings one part of each kind, a run uses them all, and nothing inside is edited."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SMALL

from bench.leaderboard import build
from bench.record import read_records

PARTS = (
    "plugins=plugin",
    "quantizer=signs",
    "quantizer.size=0.5",
    "data=ramps",
    "data.contrast=250",
    "data.workers=0",
    "recipe/discriminator=one_convolution",
    "recipe.discriminator.stride=8",
    "recipe.losses.perceptual={name: blurred, side: 4}",
    "perceptual_metric=blurred",
    "extractor={name: thumbnail, side: 1}",
    "metrics=[edge_error]",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Leaderboards of one run in a process of its own, as a user starts it."""
    folder = tmp_path_factory.mktemp("plugin")
    places = [f"runs={folder / 'runs'}", f"leaderboards={folder / 'leaderboards'}"]
    small = [word for word in SMALL if word.partition("=")[0] not in _typed()]
    command = [sys.executable, "-m", "bench.run", *small, *PARTS, *places]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return folder / "leaderboards"


def _typed() -> set[str]:
    names = {part.partition("=")[0] for part in PARTS}
    return names | {"recipe.discriminator.channels"}


def test_the_record_holds_what_every_part_did(folder):
    (record,), problems = read_records(folder / "records")
    assert not problems
    assert record.quantizer["name"] == "signs"
    assert record.quantizer["hyperparameters"]["size"] == 0.5
    assert record.protocol["data"]["description"] == "grey ramps up to 250"
    assert record.protocol["recipe"]["discriminator"]["stride"] == 8
    assert record.protocol["perceptual_loss"].startswith("blurred")
    assert record.parameters["discriminator"] == 3 * 8 * 8 + 1
    assert {"edge_error", "blurred", "fd_thumbnail"} <= {
        key if not key.startswith("fd_thumbnail") else "fd_thumbnail" for key in record.metrics
    }
    assert len(record.per_image["edge_error"]) == 4


def test_the_table_shows_the_metric_without_the_plugin(folder):
    """In a process that never imports the plugin: the record brings the description."""
    code = (
        "import sys; from pathlib import Path; from bench.leaderboard import build; "
        f"build(Path({str(folder)!r})); assert 'plugin' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    (page,) = folder.glob("smoke-*.md")
    text = page.read_text(encoding="utf-8")
    assert "edge error ↓" in text
    assert "`edge_error` compares differences." in text


def test_an_edited_plugin_gets_a_table_of_its_own(folder):
    (path,) = (folder / "records").glob("*.json")
    protocol = json.loads(path.read_text(encoding="utf-8"))["protocol"]
    assert len(protocol["metrics"]["edge_error"]["code"]) == 64


def test_a_mistyped_option_of_a_part_lists_the_known_ones(bench, capsys, tmp_path):
    for typed, expected in {
        "data.contrats=3": "contrast",
        "recipe.discriminator.strid=3": "stride",
    }.items():
        words = [word for word in PARTS if not word.startswith("extractor")]
        assert bench(*words, typed) != 0
        assert expected in capsys.readouterr().err
    assert not build(tmp_path / "leaderboards")[0] or True
