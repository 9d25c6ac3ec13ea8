import hashlib
from dataclasses import replace

import pytest
import torch

from models.weights import WEIGHT_FILES


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A published file of eight bytes, and an empty hub folder."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return replace(WEIGHT_FILES[0], sha256=hashlib.sha256(b"8 bytes!").hexdigest())


@pytest.mark.parametrize("published", WEIGHT_FILES, ids=lambda file: file.name)
def test_every_hash_is_whole_and_begins_as_the_name_of_the_file_says(published):
    assert len(published.sha256) == 64
    assert published.file.endswith(f"-{published.sha256[:8]}.pth")
    assert published.url.endswith(f"/{published.file}")
    assert published.url.startswith("https://")


def test_an_intact_file_gives_its_path(file):
    file.path.write_bytes(b"8 bytes!")
    assert file.checked_path(otherwise="do without") == file.path


def test_a_missing_file_is_an_error_with_the_command_and_the_way_out(file):
    with pytest.raises(FileNotFoundError, match="or do without") as error:
        file.checked_path(otherwise="do without")
    assert f"curl --create-dirs -Lo {file.path} {file.url}" in str(error.value)


def test_one_changed_byte_is_refused(file):
    file.path.write_bytes(b"8 bytes?")
    with pytest.raises(ValueError, match="damaged or another file") as error:
        file.checked_path(otherwise="do without")
    assert hashlib.sha256(b"8 bytes?").hexdigest() in str(error.value)
