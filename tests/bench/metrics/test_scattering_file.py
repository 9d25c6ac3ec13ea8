"""The file of the embedded extractor: the same tensors as the code, and no other byte."""

import json

import pytest
import torch
from safetensors import safe_open

from bench.metrics import scattering, scattering_file
from bench.metrics.extractor import choose_extractor
from bench.metrics.scattering import Scattering, scattering_identity
from bench.metrics.scattering_file import load_scattering, main, scattering_bytes, scattering_path


class OtherFilter(Scattering):
    """A change of the code that the hash of the constants does not see."""

    def __init__(self):
        super().__init__()
        self.low_pass[0, 0, 2, 2] += 2**-20


def test_the_file_holds_the_tensors_of_the_code_bit_for_bit():
    computed = dict(Scattering().named_buffers())
    with safe_open(scattering_path(), framework="pt") as file:
        assert set(file.keys()) == set(computed) == {"colours", "wavelets", "low_pass", "weights"}
        for name, tensor in computed.items():
            stored = file.get_tensor(name)
            assert stored.dtype == tensor.dtype
            assert stored.numpy().tobytes() == tensor.numpy().tobytes()


def test_the_file_says_name_version_and_licence():
    with safe_open(scattering_path(), framework="pt") as file:
        about = json.loads(file.metadata()["about"])
    assert about["name"] == scattering_identity()
    assert about["version"] == scattering.VERSION
    assert about["licence"] == "Apache-2.0"


def test_the_command_writes_the_same_bytes_and_nothing_else(tmp_path, capsys):
    assert main([f"folder={tmp_path}"]) == 0
    (written,) = tmp_path.iterdir()
    assert written.name == f"{scattering_identity()}.safetensors"
    assert written.read_bytes() == scattering_path().read_bytes() == scattering_bytes()
    assert scattering_file.SHA256 in capsys.readouterr().out


def test_loading_gives_a_network_with_the_tensors_of_the_file(photographs):
    images = photographs(2, 32)
    assert torch.equal(load_scattering()(images), Scattering()(images))


@pytest.mark.parametrize("position", [0, 20, 400, -1])
def test_a_flipped_bit_is_refused(position, tmp_path):
    content = bytearray(scattering_path().read_bytes())
    content[position] ^= 1
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged.safetensors is damaged .* SHA-256 is [0-9a-f]"):
        load_scattering(damaged)


def test_a_missing_file_is_named_with_what_to_type(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.safetensors; .* python -m bench.metrics"):
        load_scattering(tmp_path / "none.safetensors")


def test_code_that_computes_other_tensors_than_the_file_is_refused(monkeypatch):
    monkeypatch.setattr(scattering_file, "Scattering", OtherFilter)
    with pytest.raises(ValueError, match="computes other low_pass than"):
        load_scattering()


def test_the_judge_takes_its_network_from_the_file():
    assert choose_extractor("scattering").build is load_scattering


def test_a_run_is_refused_with_another_file_before_it_trains(bench, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scattering_file, "SHA256", "0" * 64)
    assert bench("quantizer=fsq") == 1
    assert "scattering-v2-d14aa8b6.safetensors is damaged or another" in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("*/*"))


@pytest.mark.parametrize("words", [["folder"], ["folder="], ["foldr=a"]])
def test_a_typo_is_one_message_and_writes_nothing(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert "folder=" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
