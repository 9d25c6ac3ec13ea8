"""The model card of the embedded extractor says what the code and the validation say."""

import hashlib
import re
from pathlib import Path

import torch

import bench.metrics
from bench.metrics.distortions import DAMAGES, DISTORTIONS
from bench.metrics.scattering import DIMENSION, SMALLEST_SIDE, Scattering, scattering_identity
from bench.metrics.scattering_file import scattering_path
from models import PERCEPTUAL

CARD = (Path(bench.metrics.__file__).parent / "scattering.md").read_text(encoding="utf-8")
VALIDATION = re.sub(r" +", " ", Path("leaderboards/metrics.md").read_text(encoding="utf-8"))


def test_the_card_is_of_this_version():
    assert CARD.startswith(f"# Model card: {scattering_identity()}\n")
    assert f"at least {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels" in CARD
    assert f"| output | {DIMENSION} features per image" in CARD
    size = sum(buffer.nbytes for buffer in Scattering().buffers())
    assert f" bytes; filters and weights take {size} |" in CARD
    assert not list(Scattering().parameters())


def test_the_card_is_of_this_file():
    content = scattering_path().read_bytes()
    assert f"/{scattering_path().name}`, {len(content)} bytes" in CARD
    assert f"| SHA-256 | `{hashlib.sha256(content).hexdigest()}` |" in CARD


def test_its_code_gives_the_features_without_this_package(photographs, monkeypatch):
    """Runs the example of the card on the file, and compares with the judge's features."""
    example = re.search(r"```python\n(.*?)```", CARD, re.DOTALL).group(1)
    assert "bench" not in example
    monkeypatch.chdir(scattering_path().parent)
    names = {}
    exec(example, names)
    images = photographs(3, 65)[..., :48]
    torch.testing.assert_close(names["features"](images), Scattering()(images), rtol=0, atol=1e-5)


def test_its_figures_are_those_of_the_validation():
    rows = re.findall(r"^\| .* of 10 \| .*$", CARD, re.MULTILINE)
    assert len(rows) == 3
    assert all(row in VALIDATION for row in rows)
    assert f"{len(DAMAGES)} severities".replace("5", "five") in " ".join(CARD.split())
    assert len(DISTORTIONS) == 10
    for name, strongest in {"blur": "20.4", "dropped tokens": "5.55"}.items():
        assert re.search(rf"^\| {name} \|.*\| {strongest} \|$", VALIDATION, re.MULTILINE)
        assert strongest in CARD


def test_no_training_loss_is_built_on_the_extractor():
    assert not any("scattering" in name for name in PERCEPTUAL.available())
