import re
from dataclasses import replace
from pathlib import Path

import lpips
import pytest
import torch
import torchvision
from torch import nn

from models import PERCEPTUAL, PerceptualDistance, build_perceptual, lpips_distances

TRUNK_FILES = {"lpips_alex": "alexnet-owt-7be5be79.pth", "lpips_vgg": "vgg16-397923af.pth"}


@pytest.fixture(scope="module")
def distance() -> PerceptualDistance:
    return build_perceptual("lpips_rand")


@pytest.fixture(scope="module")
def images() -> tuple[torch.Tensor, torch.Tensor]:
    pair = torch.rand(2, 3, 3, 32, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return pair[0], pair[1]


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub folder, and no downloads."""

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a download was attempted")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return folder


def save_trunk(features: nn.Module, monkeypatch: pytest.MonkeyPatch, constant: str):
    """Saves a trunk as torchvision does, and makes its hash the expected one."""
    state = {f"features.{key}": value for key, value in features.state_dict().items()}
    state["classifier.1.bias"] = torch.zeros(1)
    published = getattr(lpips_distances, constant)
    torch.save(state, published.path)
    trunk = replace(published, sha256=published.sha256_found())
    monkeypatch.setattr(lpips_distances, constant, trunk)


def reference_lpips(features: nn.Sequential, taps: list[int], heads: list[torch.Tensor], x, y):
    """LPIPS written out: unit features, squared difference, weights of the heads, mean, sum."""
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    x, y = (x - shift) / scale, (y - shift) / scale
    total = torch.zeros(len(x))
    for index, layer in enumerate(features):
        x, y = layer(x), layer(y)
        if index in taps:
            unit_x = x / x.square().sum(1, keepdim=True).sqrt()
            unit_y = y / y.square().sum(1, keepdim=True).sqrt()
            head = heads[taps.index(index)]
            total += ((unit_x - unit_y) ** 2 * head).sum(1).mean((1, 2))
    return total


@pytest.mark.parametrize(
    ("name", "net", "taps"),
    [
        ("lpips_alex", "alexnet", [1, 4, 7, 9, 11]),
        pytest.param("lpips_vgg", "vgg16", [3, 8, 15, 22, 29], marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("checkpoints")
def test_weights_on_disk_give_the_published_formula(name, net, taps, monkeypatch, images):
    with torch.device("meta"):  # spares the large classifier
        features = getattr(torchvision.models, net)(weights=None).features
    features = features.to_empty(device="cpu").requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for weight in features.parameters():
        fan_in = weight[0].numel()
        weight.normal_(0, fan_in**-0.5 if weight.ndim > 1 else 0.0, generator=generator)
    save_trunk(features, monkeypatch, net.upper())
    distance = build_perceptual(name)
    assert distance.identity.startswith(f"{name}-")

    wheel = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{name.removeprefix('lpips_')}.pth"
    heads = list(torch.load(wheel, map_location="cpu", weights_only=True).values())
    expected = reference_lpips(features[: taps[-1] + 1], taps, heads, *images)
    torch.testing.assert_close(distance(*images), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", TRUNK_FILES)
def test_the_error_about_a_missing_trunk_gives_path_and_source(name, checkpoints):
    with pytest.raises(FileNotFoundError) as error:
        build_perceptual(name)
    assert str(checkpoints / TRUNK_FILES[name]) in str(error.value)
    assert f"https://download.pytorch.org/models/{TRUNK_FILES[name]}" in str(error.value)
    assert "lpips_rand" in str(error.value)


def test_a_trunk_with_another_hash_is_refused(checkpoints):
    torch.save({"features.0.weight": torch.zeros(1)}, checkpoints / TRUNK_FILES["lpips_alex"])
    with pytest.raises(ValueError, match="expected 7be5be79"):
        build_perceptual("lpips_alex")


def test_equal_images_are_at_distance_zero(distance, images):
    assert not distance(images[0], images[0].clone()).any()


def test_distance_is_per_image_and_symmetric(distance, images):
    x, y = images
    together = distance(x, y)
    assert together.shape == (3,)
    apart = torch.cat([distance(x[i : i + 1], y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, apart)
    torch.testing.assert_close(together, distance(y, x))


def test_distance_grows_with_the_disturbance(distance, images):
    x, noise = images
    values = [distance(x, x + strength * noise).mean().item() for strength in (0.05, 0.2, 0.8)]
    assert 0 < values[0] < values[1] < values[2]


def test_the_gradient_reaches_the_images_and_nothing_else(distance, images):
    y = images[1].clone().requires_grad_()
    distance(images[0], y).sum().backward()
    assert y.grad is not None
    assert y.grad.isfinite().all()
    assert y.grad.any()
    assert all(not p.requires_grad and p.grad is None for p in distance.parameters())


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_the_gradient_is_finite_on_flat_images(distance, value):
    y = torch.full((1, 3, 32, 32), value, requires_grad=True)
    distance(torch.zeros(1, 3, 32, 32), y).sum().backward()
    assert y.grad is not None
    assert y.grad.isfinite().all()


def test_training_mode_of_a_parent_does_not_enable_dropout(distance, images):
    before = distance(*images)
    parent = nn.ModuleList([distance]).train()
    assert parent.training
    assert not any(module.training for module in distance.modules())
    assert torch.equal(distance(*images), before)


def test_building_the_random_trunk_ignores_the_global_generator_and_prints_nothing(distance, capfd):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        again = build_perceptual("lpips_rand")
        assert torch.equal(torch.get_rng_state(), before)
    assert again.identity == distance.identity
    assert capfd.readouterr() == ("", "")


def test_identity_names_the_weights(distance):
    assert re.fullmatch(r"lpips_rand-[0-9a-f]{12}", distance.identity)
    last_head = next(reversed(list(distance.parameters())))
    with torch.no_grad():
        last_head[0, 0] += 1
        changed = distance.identity
        last_head[0, 0] -= 1
    assert changed != distance.identity


def test_images_too_small_for_the_trunk_are_refused(distance):
    distance(torch.zeros(1, 3, 31, 31), torch.zeros(1, 3, 31, 31))
    with pytest.raises(ValueError, match="lpips_rand needs images of at least 31x31 pixels"):
        distance(torch.zeros(1, 3, 31, 30), torch.zeros(1, 3, 31, 30))


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_the_smallest_side_is_the_smallest_that_the_trunk_can_pool(net):
    """The trunk itself fails one pixel below; spatial sizes follow from its layers."""
    side = lpips_distances._MIN_SIDE[net]
    trunk = {"alex": torchvision.models.alexnet, "vgg": torchvision.models.vgg16}[net]
    with torch.device("meta"):
        layers = trunk(weights=None).features[:-1]  # LPIPS does not use the last pooling
        assert layers(torch.zeros(1, 3, side, side)).numel() > 0
        too_small = torch.zeros(1, 3, side, side - 1)
    with pytest.raises(RuntimeError, match="too small"):
        layers(too_small)


def test_none_builds_nothing():
    assert build_perceptual("none") is None


def test_a_plugin_adds_a_distance_with_options(register):
    @register(PERCEPTUAL, "blurred_l2")
    class BlurredL2(nn.Module):
        min_side = 4

        def __init__(self, *, pool: int = 2) -> None:
            super().__init__()
            self.blur = nn.AvgPool2d(pool)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.blur(x - y).square().mean(dim=(1, 2, 3))

    plain, explicit, strong = (
        build_perceptual("blurred_l2", **options) for options in ({}, {"pool": 2}, {"pool": 4})
    )
    assert plain.identity == explicit.identity != strong.identity
    images = torch.eye(4).expand(1, 3, 4, 4)
    assert strong(images, 0 * images).item() == pytest.approx(1 / 16)
    with pytest.raises(ValueError, match="blurred_l2 needs images of at least 4x4 pixels"):
        plain(images[..., :3], images[..., :3])
    with pytest.raises(ValueError, match="did you mean 'pool'"):
        build_perceptual("blurred_l2", poll=4)
