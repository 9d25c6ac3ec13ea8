import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch

from bench.metrics import choose_extractor, extract_features, extractor, frechet_distance

SCATTERING = choose_extractor("scattering")


def noisy(images, sigma):
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + sigma * noise).clamp(0, 255).round().to(torch.uint8)


def distance(reference, reconstruction, **options):
    return frechet_distance(
        reference, reconstruction, **{"extractor": SCATTERING, "device": "cpu"} | options
    )


def textbook(a, b):
    """Equation 6 of the paper, with a matrix square root."""
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    difference = a.mean(axis=0) - b.mean(axis=0)
    return difference @ difference + np.trace(cov_a + cov_b - 2 * root.real)


@pytest.fixture(scope="module")
def images(photographs):
    return photographs(400, 32)


@pytest.fixture(scope="module")
def damaged(images):
    return noisy(images, 5)


def test_equals_the_textbook_formula(images, damaged):
    features = [
        extract_features(x, extractor=SCATTERING, device="cpu").numpy() for x in (images, damaged)
    ]
    assert distance(images, damaged) == pytest.approx(textbook(*features), rel=1e-6)


@pytest.mark.parametrize("count", [2, 10, 400])
def test_identity_scores_zero(count, images):
    assert 0 <= distance(images[:count], images[:count]) < 1e-6


def test_order_of_the_images_does_not_matter(images, damaged):
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    assert distance(images, damaged[order]) == pytest.approx(distance(images, damaged), rel=1e-6)


def test_batch_size_does_not_matter(images, damaged):
    assert distance(images, damaged, batch_size=17) == pytest.approx(
        distance(images, damaged, batch_size=400), rel=1e-4
    )


def test_distance_is_symmetric(images, damaged):
    assert distance(images, damaged) == pytest.approx(distance(damaged, images), rel=1e-6)


def test_global_random_stream_is_not_touched(images, damaged):
    before = torch.get_rng_state()
    distance(images[:8], damaged[:8])
    assert torch.equal(torch.get_rng_state(), before)


def test_autocast_around_the_call_changes_nothing(images, damaged):
    expected = distance(images[:50], damaged[:50])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert distance(images[:50], damaged[:50]) == expected


def test_tensorfloat_of_the_caller_is_off_within_the_call(images, monkeypatch):
    seen = []

    def look(**_):
        seen.append(torch.backends.cudnn.allow_tf32)
        return {"frechet_inception_distance": 1.0}

    monkeypatch.setattr("torch_fidelity.calculate_metrics", look)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        distance(images[:2], images[:2])
        assert torch.backends.cudnn.allow_tf32
    assert seen == [False]


def test_nothing_is_printed(images, damaged, capfd):
    distance(images[:8], damaged[:8])
    assert capfd.readouterr() == ("", "")


def test_every_option_of_torch_fidelity_is_passed_once_and_spelled_right(images, monkeypatch):
    from torch_fidelity.defaults import DEFAULTS

    passed = {}

    def record(**options):
        passed.update(options)
        return {"frechet_inception_distance": 1.0}

    monkeypatch.setattr("torch_fidelity.calculate_metrics", record)
    distance(images[:2], images[:2])
    assert passed.keys() == DEFAULTS.keys()
    assert passed["cuda"] is False
    assert passed["cache"] is False
    assert passed["datasets_download"] is False
    assert passed["save_cpu_ram"] is True


@pytest.mark.parametrize(("raw", "shown"), [(-1e-9, 0.0), (math.nan, math.nan), (2.5, 2.5)])
def test_rounding_below_zero_is_cut_but_nan_is_not_hidden(raw, shown, images, monkeypatch):
    monkeypatch.setattr(
        "torch_fidelity.calculate_metrics", lambda **_: {"frechet_inception_distance": raw}
    )
    assert distance(images[:2], images[:2]) == pytest.approx(shown, abs=0, nan_ok=True)


def test_one_image_is_refused(images):
    with pytest.raises(ValueError, match="at least 2 images"):
        distance(images[:1], images[:1])


def test_floats_and_unequal_counts_are_refused(images, as_users_run):
    with pytest.raises(TypeError, match="must be uint8"):
        distance(images[:4], images[:4] / 255)
    with pytest.raises(ValueError, match="shapes must be equal"):
        distance(images[:4], images[:3])
    with pytest.raises(TypeError, match="must be uint8"):
        extract_features(images[:4] / 255, extractor=SCATTERING, device="cpu")


def test_other_devices_are_refused(images):
    with pytest.raises(ValueError, match="'cpu' or 'cuda', got device 'meta'"):
        distance(images[:2], images[:2], device="meta")


@pytest.mark.gpu
def test_gpu_agrees_with_cpu(images, damaged):
    assert distance(images, damaged, device="cuda") == pytest.approx(
        distance(images, damaged), rel=1e-4
    )


@pytest.fixture
def stand_in_inception(tmp_path, monkeypatch):
    """An Inception v3 with random weights in a local file, and its own hash as the expected one."""
    from torch_fidelity import feature_extractor_inceptionv3 as library

    class Untrained(library.FeatureExtractorInceptionV3):
        def load_state_dict(self, state_dict):
            """Keeps the initial weights."""

    monkeypatch.setattr(library, "load_state_dict_from_url", lambda *_, **__: {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = Untrained("stand-in", ["2048"], verbose=False).state_dict()
    monkeypatch.undo()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / extractor.INCEPTION.file
    path.parent.mkdir(parents=True)
    torch.save(weights, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(extractor, "INCEPTION", replace(extractor.INCEPTION, sha256=digest))
    return choose_extractor("inception")


def test_inception_is_read_from_the_local_file(stand_in_inception, images, damaged, monkeypatch):
    """Random weights: the path is tested, the published numbers are not."""
    monkeypatch.setattr(
        "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", None
    )
    few, noisy_few = images[:3], damaged[:3]
    features = [
        extract_features(x, extractor=stand_in_inception, device="cpu").double().numpy()
        for x in (few, noisy_few)
    ]
    measured = distance(few, noisy_few, extractor=stand_in_inception)
    # The trace of the root equals the nuclear norm of a 3 x 3 matrix, cheap at 2048 features.
    centred = [(f - f.mean(axis=0)) / math.sqrt(2) for f in features]
    nuclear = np.linalg.norm(centred[0] @ centred[1].T, ord="nuc")
    mean = features[0].mean(axis=0) - features[1].mean(axis=0)
    expected = mean @ mean + sum((c**2).sum() for c in centred) - 2 * nuclear
    assert features[0].shape == (3, stand_in_inception.dimension)
    assert measured == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert measured > 0
