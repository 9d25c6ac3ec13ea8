import hashlib
import warnings
from dataclasses import replace

import pytest
import torch
import torchvision
from tiny_dinov2 import WIDTH, tiny_weights
from torch import nn

from bench.metrics import registered
from bench.metrics.dinov2 import vision_transformer
from bench.metrics.extractor import EXTRACTORS, choose_extractor
from models.weights import CLIP, DINOV2

WITHOUT_WEIGHTS = {"auto", "scattering"}
WITH_WEIGHTS = sorted(set(EXTRACTORS.available()) - WITHOUT_WEIGHTS)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub folder, and no way out to the network."""

    def refuse(*_, **__):
        raise AssertionError("a download was tried")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "load", refuse)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def images(photographs):
    return photographs(5, 40)


def publish(monkeypatch, files, name):
    """Makes the file that lies there the published one."""
    digest = hashlib.sha256(files[name].path.read_bytes()).hexdigest()
    monkeypatch.setitem(files, name, replace(files[name], sha256=digest))


def normalised(images, side, mean, std):
    """Resized and normalised, by torch-fidelity's resize."""
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x,
    )

    resized = interpolate_bilinear_2d_like_tensorflow1x(
        images.float(), size=(side, side), align_corners=False
    )
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    return (resized / 255 - mean) / std


def test_every_extractor_of_torch_fidelity_is_known():
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    theirs = {name for name in FEATURE_EXTRACTORS_REGISTRY if name != "test-scattering"}
    assert theirs - set(WITH_WEIGHTS) == {"inception-v3-compat"}  # it has a shorter name here
    assert set(WITH_WEIGHTS) - theirs == {"inception", "inception-spatial"}


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_missing_weights_say_where_they_go_and_nothing_is_downloaded(name, hub):
    with pytest.raises(FileNotFoundError, match="curl --create-dirs -Lo") as error:
        choose_extractor(name)
    assert str(hub) in str(error.value)
    assert "'scattering'" in str(error.value)


def test_vgg16_is_read_from_its_file(hub, images, monkeypatch):
    """A narrow stand-in with the layers of torchvision's network."""

    def narrow(**_):
        layers = [nn.Linear(12, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 6), *[nn.ReLU()] * 3]
        network = nn.Module()
        network.pool = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
        network.classifier = nn.Sequential(*layers)
        network.forward = lambda x: network.classifier(network.pool(x))
        return network

    monkeypatch.setattr(torchvision.models, "vgg16", narrow)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        saved = narrow()
    torch.save(saved.state_dict(), registered.VGG16.path)
    digest = registered.VGG16.sha256_found()
    monkeypatch.setattr(registered, "VGG16", replace(registered.VGG16, sha256=digest))
    ours = choose_extractor("vgg16")
    assert ours.identity == f"vgg16-{digest[:8]}"
    x = normalised(images, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    hidden = saved.classifier[0](saved.pool(x)).relu()
    expected = saved.classifier[3](hidden).relu()
    torch.testing.assert_close(ours.open("cpu")(images), expected, rtol=1e-4, atol=1e-5)


def test_dinov2_equals_torch_fidelity_with_the_same_network(hub, images, monkeypatch):
    from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

    name = "dinov2-vit-s-14"
    torch.save(tiny_weights(), DINOV2[name].path)
    monkeypatch.setitem(registered._WIDTHS, name, WIDTH)
    ours = choose_extractor(name)
    assert ours.identity == f"{name}-{DINOV2[name].sha256_found()[:8]}"
    monkeypatch.setattr(torch.hub, "load", lambda *_: vision_transformer(tiny_weights()))
    theirs = FeatureExtractorDinoV2(name, ["dinov2"])
    torch.testing.assert_close(ours.open("cpu")(images), theirs(images)[0], rtol=1e-5, atol=1e-6)


def test_a_dinov2_of_another_size_is_refused(hub):
    torch.save(tiny_weights(), DINOV2["dinov2-vit-s-14"].path)
    with pytest.raises(ValueError, match="expected 384"):
        choose_extractor("dinov2-vit-s-14")


@pytest.fixture
def narrow_clip(hub, monkeypatch):
    """A CLIP of one block in a TorchScript file, as the published ones; 16 px, patches of 8."""
    from torch_fidelity.feature_extractor_clip import CLIPVisual

    class Published(nn.Module):
        def __init__(self):
            super().__init__()
            self.visual = CLIPVisual(6, 16, 1, 64, 8).visual
            self.text_projection = nn.Parameter(torch.zeros(3, 6))

        def forward(self, images):
            return self.visual(images)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Published().eval()
    for parameter in network.parameters():
        parameter.data = parameter.data.half().float()  # the published files hold float16
    name = "clip-vit-b-32"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript deprecated
        torch.jit.trace(network, torch.zeros(2, 3, 16, 16)).save(str(CLIP[name].path))
    publish(monkeypatch, registered.CLIP, name)
    return name, network


def test_clip_is_read_from_its_file(narrow_clip, images):
    name, network = narrow_clip
    ours = choose_extractor(name)
    assert ours.identity == f"{name}-{registered.CLIP[name].sha256[:8]}"
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    with torch.no_grad():
        expected = network(normalised(images, 16, mean, std))
    assert expected.shape == (5, 6)
    torch.testing.assert_close(ours.open("cpu")(images), expected, rtol=1e-3, atol=1e-4)


def test_a_file_with_another_hash_is_refused(hub):
    for name in ("vgg16", "clip-vit-b-32"):
        file = registered.VGG16 if name == "vgg16" else CLIP[name]
        file.path.write_bytes(b"another file")
        with pytest.raises(ValueError, match="damaged or another file"):
            choose_extractor(name)


@pytest.fixture
def untrained_inception(hub, monkeypatch):
    """An Inception v3 with random weights in its file."""
    from torch_fidelity import feature_extractor_inceptionv3 as library

    class Untrained(library.FeatureExtractorInceptionV3):
        def load_state_dict(self, state_dict):
            """Keeps the initial weights."""

    monkeypatch.setattr(library, "load_state_dict_from_url", lambda *_, **__: {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Untrained("stand-in", ["2048"], verbose=False).eval()
    monkeypatch.setattr(library, "load_state_dict_from_url", None)
    torch.save(network.state_dict(), registered.INCEPTION.path)
    digest = registered.INCEPTION.sha256_found()
    monkeypatch.setattr(registered, "INCEPTION", replace(registered.INCEPTION, sha256=digest))
    return network


@pytest.mark.slow
def test_inception_gives_pooled_features_and_those_of_sfid(untrained_inception, images):
    few = images[:2]
    inception, spatial = choose_extractor("inception"), choose_extractor("inception-spatial")
    assert spatial.identity == f"{inception.identity}-spatial"
    with torch.no_grad():
        expected = untrained_inception(few)[0]
    assert torch.equal(inception.open("cpu")(few), expected)
    x = normalised(few, 299, (128 / 255,) * 3, (128 / 255,) * 3)
    with torch.no_grad():
        for name, module in untrained_inception.named_children():
            if name == "Mixed_6d":
                break
            x = module(x)
        expected = module.branch1x1(x)[:, :7]
    assert expected.shape == (2, 7, 17, 17)
    torch.testing.assert_close(spatial.open("cpu")(few), expected.flatten(1), rtol=1e-4, atol=1e-5)
