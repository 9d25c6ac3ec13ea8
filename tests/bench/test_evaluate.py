import math

import pytest
import torch

from bench.evaluate import choose_perceptual_metric, evaluate, reconstruct
from bench.metrics import CodebookStatistics
from bench.metrics.by_name import check_metrics, metrics_by_name
from bench.metrics.extractor import choose_extractor
from models import AutoEncoder, Bottleneck, Decoder, Encoder
from quantizers import build


@pytest.fixture
def images():
    return torch.randint(
        0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


@pytest.fixture
def autoencoder():
    shape = {"channels": 8, "multipliers": (1, 1, 1), "depths": (1, 1, 1, 1), "norm_groups": 4}
    torch.manual_seed(0)
    quantizer = build("gsq", groups=2, group_channels=4, codebook_size=8)
    return AutoEncoder(
        encoder=Encoder(out_channels=8, **shape),
        bottleneck=Bottleneck(quantizer=quantizer, feature_channels=8),
        decoder=Decoder(in_channels=8, **shape),
    )


def scored(images, reconstruction, perceptual=None, **options):
    statistics = CodebookStatistics((8,))
    statistics.add(torch.zeros(1, 1, 2, 2, dtype=torch.int64))
    return evaluate(
        images,
        reconstruction,
        statistics.result(),
        extractor=choose_extractor("scattering"),
        perceptual=perceptual,
        device=torch.device("cpu"),
        **options,
    )


def test_an_exact_copy_scores_perfectly(images):
    metrics = scored(images, images.clone(), choose_perceptual_metric("lpips_rand")).metrics
    assert metrics["psnr_db"] == math.inf
    assert metrics["exact_images"] == 6
    assert metrics["ssim"] == pytest.approx(1, abs=1e-6)
    assert metrics["l1"] == 0
    assert metrics["lpips_rand"] == 0
    assert metrics["fd_scattering_v2"] == pytest.approx(0, abs=1e-6)


def test_means_are_means_of_the_values_kept_per_image(images):
    noisy = (images.int() + 9).clamp(0, 255).to(torch.uint8)
    evaluation = scored(images, noisy)
    for name, values in evaluation.per_image.items():
        assert len(values) == 6
        assert evaluation.metrics[name] == pytest.approx(sum(values) / 6)


def test_distances_are_kept_without_each_group_of_images(images):
    noisy = (images.int() + 9).clamp(0, 255).to(torch.uint8)
    evaluation = scored(images, noisy)
    rest = scored(images[1:], noisy[1:])
    assert set(evaluation.leave_group_out) == {"fd_scattering_v2", "kid_scattering_v2"}
    for name, values in evaluation.leave_group_out.items():
        assert len(values) == 6
        assert values[0] == pytest.approx(rest.metrics[name], rel=1e-6)


def test_two_images_have_distances_but_no_groups(images):
    evaluation = scored(images[:2], images[2:4])
    assert evaluation.metrics["fd_scattering_v2"] > 0
    assert evaluation.leave_group_out == {}


def test_metrics_of_every_kind_come_from_outside(images, forget_plugins):
    import judge_plugin  # noqa: F401

    noisy = images.clone()
    noisy[2, 0, 0, 0] ^= 64
    noisy[4] ^= 1
    plain = scored(images, noisy)
    names = ["worst_level", "worst_psnr_db", "mean_shift", "kid"]
    asked = metrics_by_name(names, extractor=choose_extractor("scattering"))
    evaluation = scored(images, noisy, metrics=asked)
    assert evaluation.per_image["worst_level"] == [0, 0, 64, 0, 1, 0]
    assert evaluation.metrics["worst_level"] == 65 / 6
    assert evaluation.metrics["worst_psnr_db"] == min(evaluation.per_image["psnr_db"])
    assert evaluation.metrics["mean_shift_scattering_v2"] > 0
    assert len(evaluation.leave_group_out["mean_shift_scattering_v2"]) == 6
    assert {key: evaluation.metrics[key] for key in plain.metrics} == plain.metrics
    assert asked[0].description["digits"] == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ms_ssim", "at least 176 x 176 pixels, got 32 x 32"),
        ("precision", "precision needs at least 4 images, got 3"),
        ("fd_infinity", "fd_infinity needs at least 672 images for 168 features, got 3"),
    ],
)
def test_what_a_metric_needs_is_known_before_a_run_trains(name, message, images):
    asked = metrics_by_name([name], extractor=choose_extractor("scattering"))
    with pytest.raises(ValueError, match=message):
        check_metrics(asked, images, count=3)


def test_reconstructing_counts_every_token_and_changes_nothing(autoencoder, images, monkeypatch):
    before = {name: tensor.clone() for name, tensor in autoencoder.state_dict().items()}
    whole, report = reconstruct(autoencoder, images, device=torch.device("cpu"))
    assert [use.tokens for use in report.codebooks] == [6 * 64, 6 * 64]
    monkeypatch.setattr("bench.evaluate.PIXELS_PER_BATCH", 2 * 32 * 32)
    parts, _ = reconstruct(autoencoder, images, device=torch.device("cpu"))
    assert (whole.int() - parts.int()).abs().max() <= 1  # rounding of another batch size
    assert all(torch.equal(before[n], t) for n, t in autoencoder.state_dict().items())


def test_the_perceptual_metric_falls_back_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert choose_perceptual_metric("auto").name == "lpips_rand"
    assert choose_perceptual_metric("none") is None
    with pytest.raises(FileNotFoundError, match="alexnet"):
        choose_perceptual_metric("lpips_alex")
