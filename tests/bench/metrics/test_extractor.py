import hashlib
from dataclasses import replace

import pytest

from bench.metrics import Extractor, registered
from bench.metrics.extractor import EXTRACTORS, choose_extractor
from bench.metrics.scattering import scattering_identity


@pytest.fixture(autouse=True)
def weights_file(tmp_path, monkeypatch):
    """Where Inception weights would lie in an empty torch home."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
    path.parent.mkdir(parents=True)
    return path


def test_scattering_is_a_proxy_and_never_called_rfid():
    scattering = choose_extractor("scattering")
    assert scattering.metric_key == "fd_scattering_v2"
    assert scattering.identity == scattering_identity()
    assert "proxy" in scattering.label


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
    monkeypatch.setattr(registered, "INCEPTION", replace(registered.INCEPTION, sha256=digest))
    inception = choose_extractor(name)
    assert (inception.name, inception.metric_key) == ("inception", "rfid")
    assert inception.weights == weights_file
    assert digest[:8] in inception.identity
    assert "proxy" not in inception.label


def test_an_unknown_name_lists_the_known_and_the_nearest():
    with pytest.raises(ValueError, match=r"known: auto, clip-rn101,.*mean 'dinov2-vit-b-14'"):
        choose_extractor("dinov2-vitb-14")


def test_an_extractor_from_outside_has_options_and_a_key_of_its_own(forget_plugins):
    @EXTRACTORS.register("mine")
    def mine(*, size: int = 32) -> Extractor:
        return Extractor(name="mine", identity=f"mine-{size}", label="", build=lambda: None)

    assert choose_extractor("mine").identity == "mine-32"
    larger = choose_extractor({"name": "mine", "size": 64})
    assert (larger.identity, larger.metric_key, larger.key("kid")) == (
        *("mine-64", "fd_mine", "kid_mine"),
    )
    with pytest.raises(ValueError, match=r"unknown option of extractor mine: 'siez'.*'size'"):
        choose_extractor({"name": "mine", "siez": 64})


@pytest.mark.parametrize("metric_key", ["rfid", "sfid", "fd_scattering_v2"])
def test_an_extractor_from_outside_cannot_take_the_key_of_another(metric_key, forget_plugins):
    @EXTRACTORS.register("mine")
    def mine() -> Extractor:
        extractor = choose_extractor("scattering")
        return replace(extractor, name="mine", metric_key=metric_key)

    with pytest.raises(ValueError, match="metric_key must begin with 'fd_mine'"):
        choose_extractor("mine")


@pytest.mark.parametrize("name", ["auto", "scattering", "clip-rn50", "dinov2-vit-b-14"])
def test_names_of_this_package_and_of_torch_fidelity_are_taken(name):
    with pytest.raises(ValueError, match=f"extractor name '{name}' is taken"):
        EXTRACTORS.register(name)(lambda: None)
