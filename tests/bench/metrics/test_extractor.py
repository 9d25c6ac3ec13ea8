import hashlib
from dataclasses import replace

import pytest

from bench.metrics import choose_extractor, extractor
from bench.metrics.scattering import DIMENSION, scattering_identity


@pytest.fixture(autouse=True)
def weights_file(tmp_path, monkeypatch):
    """Where Inception weights would lie in an empty torch home."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
    path.parent.mkdir(parents=True)
    return path


def test_scattering_is_a_proxy_and_never_called_rfid():
    chosen = choose_extractor("scattering")
    assert chosen.metric_key == "fd_scattering_v2"
    assert chosen.identity == scattering_identity()
    assert chosen.dimension == DIMENSION
    assert "proxy" in chosen.label
    assert chosen.identity == scattering_identity()


def test_auto_without_weights_is_scattering():
    assert choose_extractor("auto") == choose_extractor("scattering")


def test_missing_weights_are_an_error_that_says_where_and_how(weights_file):
    with pytest.raises(FileNotFoundError, match="curl") as error:
        choose_extractor("inception")
    assert str(weights_file) in str(error.value)
    assert "https://github.com/toshas/torch-fidelity" in str(error.value)


@pytest.mark.parametrize("name", ["inception", "auto"])
def test_damaged_weights_are_refused_also_by_auto(name, weights_file):
    weights_file.write_bytes(b"half a download")
    digest = hashlib.sha256(b"half a download").hexdigest()
    with pytest.raises(ValueError, match=digest):
        choose_extractor(name)


@pytest.mark.parametrize("name", ["inception", "auto"])
def test_intact_weights_give_rfid(name, weights_file, monkeypatch):
    weights_file.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setattr(extractor, "INCEPTION", replace(extractor.INCEPTION, sha256=digest))
    chosen = choose_extractor(name)
    assert (chosen.name, chosen.metric_key, chosen.dimension) == ("inception", "rfid", 2048)
    assert chosen.weights == weights_file
    assert digest[:8] in chosen.identity
    assert "proxy" not in chosen.label


def test_unknown_name_lists_the_known(as_users_run):
    with pytest.raises(ValueError, match="unknown extractor 'dino'; known: auto, inception"):
        choose_extractor("dino")
