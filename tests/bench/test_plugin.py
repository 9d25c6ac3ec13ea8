"""A plugin brings one part of each kind, a run uses them all, and nothing inside is edited."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.record import read_records

PARTS = (
    "plugins=plugin",
    "quantizer=signs",
    "quantizer.size=0.5",
    "data=ramps",
    "data.contrast=250",
    "recipe/discriminator=one_convolution",
    "recipe.discriminator.stride=8",
    "recipe.losses.perceptual={name: blurred, side: 4}",
    "perceptual_metric=blurred",
    "extractor={name: thumbnail, side: 1}",
    "metrics=[edge_error]",
)
SMALL = (
    *("recipe=smoke", "recipe.steps=2", "recipe.batch_size=4", "device=cpu"),
    *("recipe.frame.channels=8", "recipe.frame.feature_channels=8", "recipe.frame.norm_groups=4"),
)


def words(folder: Path) -> list[str]:
    places = [f"runs={folder / 'runs'}", f"leaderboards={folder / 'leaderboards'}"]
    return [*SMALL, *PARTS, *places]


def python(*words: str) -> subprocess.CompletedProcess[str]:
    """A process as a user starts it, with this folder on PYTHONPATH."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def leaderboards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugin")
    result = python("-m", "bench.run", *words(folder))
    assert result.returncode == 0, result.stderr
    return folder / "leaderboards"


def test_every_part_did_its_work_and_stands_in_the_record(leaderboards):
    (record,), problems = read_records(leaderboards / "records")
    assert not problems
    assert record.status == "ok"
    assert record.quantizer["hyperparameters"]["size"] == 0.5
    assert record.protocol["data"]["description"] == "grey ramps up to 250"
    assert record.protocol["recipe"]["discriminator"]["stride"] == 8
    assert record.protocol["perceptual_loss"].startswith("blurred")
    assert record.protocol["extractor"]["identity"] == "thumbnail-1"
    assert record.parameters["discriminator"] == 3 * 8 * 8 + 1
    assert {"edge_error", "blurred", "fd_thumbnail", "kid_thumbnail"} <= record.metrics.keys()
    assert len(record.per_image["edge_error"]) == len(record.per_image["blurred"]) == 4


def test_tables_and_comparisons_show_the_metric_without_the_plugin(leaderboards):
    page = next(leaderboards.glob("smoke-*.md"))
    shown = page.read_text(encoding="utf-8")
    assert "edge error ↓" in shown
    assert "`edge_error` compares differences." in shown
    page.unlink()
    assert not python("-m", "bench.leaderboard", f"leaderboards={leaderboards}").returncode
    assert page.read_text(encoding="utf-8") == shown


TYPOS = {
    "data.contrats=3": "contrast",
    "recipe.discriminator.strid=3": "stride",
    "quantizer.siz=3": "size",
    "metrics=[edge_eror]": "edge_error",
    "extractor=thumbnial": "thumbnail",
    "perceptual_metric=blured": "blurred",
}


def test_a_mistyped_name_or_option_of_a_part_shows_the_known_ones(tmp_path):
    """All in one process of their own, since a plugin's parts stay registered."""
    code = (
        "import sys; from bench.jobs import launch; from bench.run import main; "
        "launch.run_in_fresh_process = lambda task, *arguments: task(*arguments); "
        "codes = [main([*sys.argv[2:], typed]) for typed in sys.argv[1].split()]; "
        "sys.exit(0 if set(codes) <= {1, 2} else 3)"
    )
    result = python("-c", code, " ".join(TYPOS), *words(tmp_path))
    assert result.returncode == 0, result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == len(TYPOS)
    for line, known in zip(lines, TYPOS.values(), strict=True):
        assert line.startswith("error: ")
        assert known in line
    assert not (tmp_path / "leaderboards" / "records").exists()
