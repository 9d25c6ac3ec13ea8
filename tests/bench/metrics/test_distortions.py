import pytest
import torch

from bench.metrics import ssim
from bench.metrics.distortions import DISTORTIONS, Distortion, damage, damaged_equally

NAMES = [distortion.name for distortion in DISTORTIONS]


@pytest.fixture(scope="module")
def images(photographs):
    return photographs(24, 32)


def test_the_eight_kinds_of_failure_are_all_there():
    asked = "noise, blur, JPEG, quantisation, colour shift, blocking, ringing, dropped tokens"
    assert set(asked.split(", ")) <= set(NAMES)


@pytest.mark.parametrize("distortion", DISTORTIONS, ids=NAMES)
def test_the_damage_grows_with_the_strength_and_keeps_the_shape(distortion, images):
    low, high = distortion.weakest, distortion.strongest
    strengths = [low * (high / low) ** share for share in (0.4, 0.7, 1)]
    sets = [distortion.apply(images, strength) for strength in strengths]
    damages = [damage(images, damaged) for damaged in sets]
    assert damages[0] < damages[1] < damages[2]
    assert all(x.shape == images.shape and x.dtype == torch.uint8 for x in sets)
    assert torch.equal(distortion.apply(images, high), sets[2])


@pytest.mark.parametrize("name", ["noise", "colour shift", "dropped tokens"])
def test_calibrated_sets_have_the_damage_asked_for(name, images):
    distortion = DISTORTIONS[NAMES.index(name)]
    (damaged,) = damaged_equally(distortion, images, [0.05])
    assert damage(images[::4], damaged[::4]) == pytest.approx(0.05, rel=0.05)


def test_damage_is_the_geometric_mean_of_rmse_and_lost_similarity(images):
    brighter = images.clamp(max=245) + 10
    reference = images.clamp(max=245)
    lost = 1 - ssim(reference, brighter).mean().item()
    assert damage(reference, brighter) == pytest.approx((10 / 255 * lost) ** 0.5, rel=1e-9)
    assert damage(images, images) == 0


def test_a_distortion_that_is_too_weak_is_refused(images):
    still = Distortion(name="still", apply=lambda x, _: x, weakest=0.1, strongest=1.0)
    with pytest.raises(ValueError, match=r"still cannot damage these images by 0\.05"):
        damaged_equally(still, images, [0.05])
