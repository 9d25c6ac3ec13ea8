import io
import itertools
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter

from bench.metrics import scattering
from bench.metrics.scattering import (
    DIMENSION,
    Scattering,
    expand_weights,
    morlet_bank,
    scattering_identity,
)
from bench.statistics import frechet_distance


def as_bytes(images):
    return images.clamp(0, 255).round().to(torch.uint8)


def with_pillow(images, change):
    changed = [change(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in images]
    return torch.from_numpy(np.stack([np.asarray(c) for c in changed])).permute(0, 3, 1, 2)


def add_noise(images, sigma):
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    return as_bytes(images + sigma * noise)


def blur(images, radius):
    return with_pillow(images, lambda image: image.filter(ImageFilter.GaussianBlur(radius)))


def compress(images, quality):
    def change(image):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return with_pillow(images, change)


def shift_colour(images, levels):
    return as_bytes(images + levels * torch.tensor([1.0, -0.5, 0.0]).view(3, 1, 1))


def desaturate(images, fraction):
    grey = images.float().mean(dim=1, keepdim=True)
    return as_bytes(images + fraction * (grey - images))


def pixelate(images, side):
    return as_bytes(F.interpolate(F.avg_pool2d(images.float(), side), scale_factor=side))


def shift_blocks(images, sigma):
    """Adds one random colour to each block of 8 x 8 pixels."""
    generator = torch.Generator().manual_seed(2)
    blocks = torch.randn(images.shape[0], 3, 4, 4, generator=generator)
    return as_bytes(images + sigma * F.interpolate(blocks, scale_factor=8))


def distance(reference, features):
    return frechet_distance(reference.double().numpy(), features.double().numpy())


def unweighted(images):
    network = Scattering()
    return network(images) / network.weights


@pytest.mark.parametrize(
    ("damage", "severities"),
    [
        (add_noise, (1, 2, 5, 10, 20, 40)),
        (blur, (0.3, 0.5, 0.7, 1, 2, 4)),
        (compress, (95, 90, 75, 50, 25, 10, 5)),
        (shift_colour, (1, 2, 5, 10, 20, 40)),
        (desaturate, (0.1, 0.2, 0.4, 0.8, 1)),
        (pixelate, (2, 4, 8, 16)),
        (shift_blocks, (1, 2, 5, 10, 20)),
    ],
)
def test_distance_grows_with_severity(damage, severities, photographs):
    network, images = Scattering(), photographs(240, 32)
    reference = network(images)
    distances = [distance(reference, network(damage(images, s))) for s in severities]
    assert distances[0] > 1e-4
    assert all(b > 1.1 * a for a, b in itertools.pairwise(distances)), distances


def test_each_wavelet_ignores_a_constant_and_has_gain_two_at_its_own_frequency():
    bank = morlet_bank()
    y, x = torch.meshgrid(*[torch.arange(-3.0, 4.0, dtype=torch.float64)] * 2, indexing="ij")
    for orientation, wavelet in enumerate(bank):
        angle = math.pi * orientation / 4
        phase = 0.75 * math.pi * (x * math.cos(angle) + y * math.sin(angle))
        gains = (bank * torch.polar(torch.ones_like(phase), -phase)).sum(dim=(1, 2)).abs()
        assert wavelet.sum().abs() < 1e-4
        assert gains.argmax() == orientation
        assert gains[orientation] == pytest.approx(2, abs=1e-4)


@pytest.mark.parametrize("orientation", [0, 1])
def test_finest_features_measure_the_amplitude_of_a_wave_in_levels(orientation):
    """A grey wave of 40 levels and 8/3 pixels stirs its own wavelet of Y, by log(1 + 40/4)."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    angle = math.pi * orientation / 4
    wave = 40 * torch.sin(0.75 * math.pi * (x * math.cos(angle) + y * math.sin(angle)))
    features = unweighted(as_bytes(128 + wave.expand(1, 3, 64, 64)))[0, :144]
    finest = features.view(3, 3, 4, 2, 2)[0]
    assert finest[0, orientation].tolist() == [[pytest.approx(math.log(11), rel=0.05)] * 2] * 2
    assert finest[0, orientation + 2].max() < finest[0, orientation].min() / 2
    assert finest[1:].max() < 1e-3  # no colour


def test_faint_contrast_is_measured_as_well_near_white_as_near_grey(photographs):
    """In float32 the variance of a bright cell would drown in rounding."""
    faint = photographs(1, 32) % 2
    near_grey, near_white = unweighted(torch.cat([faint + 128, faint + 250]))[:, 156:]
    assert near_grey.max() > 1e-2
    torch.testing.assert_close(near_white, near_grey, rtol=0, atol=3e-5)


def test_grey_images_have_no_contrast_and_no_colour():
    grey = torch.full((1, 3, 32, 32), 144, dtype=torch.uint8)
    features = unweighted(grey)[0]
    wavelets, means, deviations = features.split([144, 12, 12])
    assert wavelets.max() < 1e-3
    assert deviations.max() < 1e-3
    # (144 - 128) / 16 for Y, nothing for Cb and Cr
    expected = torch.tensor([1.0] * 4 + [0.0] * 8, dtype=torch.float64)
    torch.testing.assert_close(means, expected, rtol=0, atol=1e-4)


def test_turning_an_image_permutes_orientations_and_cells(photographs):
    """A quarter turn maps orientation k to k + 2, which is the same set of features, reordered."""
    image = photographs(1, 33)  # odd, so that the pyramid samples the same points after the turn
    network = Scattering()
    plain = network(image)[:, :144].view(3, 3, 4, 2, 2)
    turned = network(image.rot90(1, (2, 3)))[:, :144].view(3, 3, 4, 2, 2)
    expected = plain[:, :, [2, 3, 0, 1]].rot90(1, (3, 4))
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 40), (256, 256)])
def test_any_size_from_32_pixels_gives_168_finite_features(size, photographs):
    images = photographs(2, 256)[:, :, : size[0], : size[1]]
    features = Scattering()(images)
    assert features.shape == (2, DIMENSION) == (2, 168)
    assert features.dtype == torch.float64
    assert features.isfinite().all()


@pytest.mark.parametrize("size", [(31, 64), (64, 31)])
def test_smaller_images_are_refused(size):
    with pytest.raises(ValueError, match=f"at least 32 x 32 pixels, got {size[0]} x {size[1]}"):
        Scattering()(torch.zeros(1, 3, *size, dtype=torch.uint8))


def test_features_do_not_depend_on_the_batch(photographs):
    images, network = photographs(20, 32), Scattering()
    apart = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(network(images), apart, rtol=0, atol=1e-5)


def test_each_kind_of_feature_has_its_weight_for_luma_and_for_chroma():
    """Numbered weights end up where the features of that kind and colour lie."""
    kinds = expand_weights(torch.arange(10.0).view(5, 2))
    wavelets = kinds[:144].view(3, 3, 16)  # scale, colour, orientation and cell
    means, deviations = kinds[144:].view(2, 3, 4)
    assert wavelets[:, :, 0].tolist() == [[0, 1, 1], [2, 3, 3], [4, 5, 5]]
    assert (wavelets == wavelets[:, :, :1]).all()
    assert means.T.tolist() == [[6, 7, 7]] * 4
    assert deviations.T.tolist() == [[8, 9, 9]] * 4


def test_building_it_draws_no_random_numbers():
    before = torch.get_rng_state()
    first, second = Scattering(), Scattering()
    assert torch.equal(first.wavelets, second.wavelets)
    assert torch.equal(torch.get_rng_state(), before)


def test_name_carries_version_and_hash_and_is_pinned():
    """A new hash means new numbers: raise VERSION with it, since old records keep the old key."""
    assert re.fullmatch(r"scattering-v2-[0-9a-f]{8}", scattering_identity())
    assert scattering_identity() == "scattering-v2-d14aa8b6"


@pytest.mark.parametrize(
    ("constant", "other"),
    [
        ("WEIGHTS", ((1.0, 1.0),) * 5),
        ("_YCBCR", ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))),
        ("_SCALES", 2),
        ("_ORIENTATIONS", 6),
        ("_RADIUS", 2),
        ("_ENVELOPE", 0.81),
        ("_SLANT", 0.51),
        ("_FREQUENCY", 2.3),
        ("_BINOMIAL", (1, 2, 1)),
        ("_GRID", 4),
        ("_MEAN_UNIT", 17.0),
        ("_AMPLITUDE_UNIT", 4.1),
    ],
)
def test_the_name_changes_with_every_constant(constant, other, monkeypatch):
    before = scattering_identity()
    monkeypatch.setattr(scattering, constant, other)
    morlet_bank.cache_clear()
    changed = scattering_identity.__wrapped__()
    monkeypatch.undo()
    morlet_bank.cache_clear()
    assert changed != before == scattering_identity.__wrapped__()
