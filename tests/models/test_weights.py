import hashlib
from dataclasses import replace

import pytest
import torch

from models.weights import CLIP, DINOV2, WEIGHT_FILES


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A published file of eight bytes, and an empty hub folder."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return replace(WEIGHT_FILES[0], sha256=hashlib.sha256(b"8 bytes!").hexdigest())


@pytest.mark.parametrize("published", WEIGHT_FILES, ids=lambda file: file.name)
def test_every_hash_is_complete_and_agrees_with_the_file_name(published):
    assert published.url.startswith("https://")
    if published.name.startswith("CLIP"):
        assert published.file.endswith(f"-{published.sha256}.pt")
        assert f"/{published.sha256}/" in published.url
        return
    assert published.url.endswith(f"/{published.file}")
    if published.name.startswith("DINOv2"):
        assert published.sha256 == ""  # none is published
        return
    assert len(published.sha256) == 64
    assert published.file.endswith(f"-{published.sha256[:8]}.pth")


def test_clip_files_equal_torch_fidelitys():
    from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS

    assert {name: file.url for name, file in CLIP.items()} == MODEL_URLS
    assert {name: file.sha256 for name, file in CLIP.items()} == {
        name: facts["hash"] for name, facts in MODEL_METADATA.items()
    }


def test_dinov2_files_equal_torch_fidelitys():
    from torch_fidelity.feature_extractor_dinov2 import MODEL_METADATA

    known = {name: f"{stem}_pretrain.pth" for name, stem in MODEL_METADATA.items()}
    assert {name: file.file for name, file in DINOV2.items()} == known


def test_a_file_without_a_published_hash_is_accepted(file):
    file = replace(file, sha256="")
    file.path.write_bytes(b"anything")
    assert file.checked_path(otherwise="do without") == file.path


def test_an_intact_file_gives_its_path(file):
    file.path.write_bytes(b"8 bytes!")
    assert file.checked_path(otherwise="do without") == file.path


def test_the_error_about_a_missing_file_gives_the_command_and_the_alternative(file):
    with pytest.raises(FileNotFoundError, match="or do without") as error:
        file.checked_path(otherwise="do without")
    assert f"curl --create-dirs -Lo {file.path} {file.url}" in str(error.value)


def test_one_changed_byte_is_refused(file):
    file.path.write_bytes(b"8 bytes?")
    with pytest.raises(ValueError, match="damaged or another file") as error:
        file.checked_path(otherwise="do without")
    assert hashlib.sha256(b"8 bytes?").hexdigest() in str(error.value)
