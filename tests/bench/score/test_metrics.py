import json

import numpy as np
import pytest
import torch
from PIL import Image

from bench.evaluate import choose_perceptual_metric, evaluate
from bench.metrics import CodebookStatistics, Extractor, pooled_psnr_db
from bench.metrics.by_name import metrics_by_name
from bench.metrics.extractor import EXTRACTORS, choose_extractor
from bench.metrics.infinity import frechet_distance_at_infinity
from bench.metrics.multi_scale import ms_ssim
from bench.metrics.precision_recall import precision, recall
from bench.score import judge, score
from bench.score.__main__ import main
from bench.statistics import frechet_distance, kernel_distance

OPTIONS = {"extractor": "scattering", "perceptual": "none"}


def pair(count, side, seed=0):
    """Smooth random pictures and the same with noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator) * 255
    images = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear").round()
    noisy = images + 12 * torch.randn(images.shape, generator=generator)
    return images.byte(), noisy.clamp(0, 255).round().byte()


@pytest.fixture(scope="module")
def small():
    return pair(24, 40)


def test_scores_equal_those_of_a_run(small):
    images, noisy = small[0], small[1].clone()
    noisy[3] = images[3]  # an exact image, which is left out of the mean PSNR
    expected = evaluate(
        images,
        noisy,
        CodebookStatistics([]).result(),
        extractor=choose_extractor("scattering"),
        perceptual=choose_perceptual_metric("lpips_rand"),
        device=torch.device("cpu"),
    )
    scored = score(images, noisy, extractor="scattering", perceptual="lpips_rand")
    kernel = "kid_scattering_v2"  # summed in another order
    for part in ("metrics", "leave_group_out"):
        ours, theirs = (getattr(result, part).pop(kernel) for result in (scored, expected))
        assert ours == pytest.approx(theirs, rel=1e-9)
    assert scored == expected


def test_batches_of_any_size_give_the_same_scores(small, monkeypatch):
    asked = {"metrics": ("precision", "recall", "kid"), **OPTIONS}
    whole = score(*small, **asked)
    monkeypatch.setattr("bench.score.tensors.PIXELS_PER_BATCH", 5 * 40 * 40)
    parts = score(*small, **asked)
    assert parts.metrics == pytest.approx(whole.metrics, rel=1e-4)
    assert parts.per_image.keys() == whole.per_image.keys()
    for name, values in whole.per_image.items():
        assert parts.per_image[name] == pytest.approx(values, rel=1e-9)
    for name, values in whole.leave_group_out.items():
        assert parts.leave_group_out[name] == pytest.approx(values, rel=1e-3)


def test_the_order_of_the_pairs_does_not_matter(small):
    asked = {"metrics": ("precision", "recall", "fd"), **OPTIONS}
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    shuffled = score(small[0][order], small[1][order], **asked).metrics
    assert shuffled == pytest.approx(score(*small, **asked).metrics, rel=1e-6)


@pytest.mark.parametrize("said", [23, 25])
def test_a_wrong_number_of_pairs_is_refused(small, said):
    opened = judge.build_judge(**OPTIONS)
    codebooks = CodebookStatistics([]).result()
    with pytest.raises(ValueError, match=f"expected {said} pairs of images, got"):
        opened.evaluate([small], images=said, codebooks=codebooks)


def test_identity_is_perfect_in_every_metric():
    images, _ = pair(4, 176)
    metrics = score(images, images, metrics=("precision", "recall", "ms_ssim"), **OPTIONS).metrics
    assert metrics["precision_scattering_v2"] == metrics["recall_scattering_v2"] == 1
    assert metrics["ms_ssim"] == pytest.approx(1)
    assert metrics["fd_scattering_v2"] == pytest.approx(0, abs=1e-9)


def test_ms_ssim_has_a_value_for_every_image():
    images, noisy = pair(3, 180)
    evaluation = score(images, noisy, metrics=("ms_ssim",), **OPTIONS)
    expected = ms_ssim(images, noisy)
    assert evaluation.per_image["ms_ssim"] == pytest.approx(expected.tolist())
    assert evaluation.metrics["ms_ssim"] == pytest.approx(expected.mean().item())


def test_pooled_psnr_equals_that_of_the_whole_set(small):
    images, noisy = small[0], small[1].clone()
    noisy[3] = images[3]  # an exact image counts in the pooled error
    metrics = score(images, noisy, metrics=("pooled_psnr_db",), **OPTIONS).metrics
    assert metrics["pooled_psnr_db"] == pytest.approx(pooled_psnr_db(images, noisy), rel=1e-12)
    assert metrics["pooled_psnr_db"] != pytest.approx(metrics["psnr_db"], abs=0.01)
    exact = score(images, images, metrics=("pooled_psnr_db",), **OPTIONS).metrics
    assert exact["pooled_psnr_db"] == float("inf")


@pytest.fixture
def other_extractor(forget_plugins):
    """Registers `colours` from outside: mean and spread of each colour."""

    class Colours(torch.nn.Module):
        def forward(self, images):
            pixels = images.float().flatten(2)
            return torch.cat([pixels.mean(dim=2), pixels.std(dim=2)], dim=1)

    @EXTRACTORS.register("colours")
    def colours() -> Extractor:
        return Extractor(name="colours", identity="colours-v1", label="", build=Colours)

    return Colours()


def test_a_metric_may_name_another_extractor(other_extractor):
    images, noisy = pair(24, 40)
    noisy[8:] = noisy[:8].repeat(2, 1, 1, 1)  # fewer pictures: precise, but with little recall
    asked = (
        "fd:colours",
        "kid:colours",
        "fd_infinity:colours",
        "precision:colours",
        "recall:colours",
    )
    found = score(images, noisy, metrics=(*asked, "recall"), **OPTIONS).metrics
    sets = [other_extractor(x) for x in (images, noisy)]
    arrays = [x.double().numpy() for x in sets]
    expected = {
        "fd_colours": frechet_distance(*arrays),
        "kid_colours": kernel_distance(*arrays),
        "fd_infinity_colours": frechet_distance_at_infinity(*sets),
        "precision_colours": precision(*sets),
        "recall_colours": recall(*sets),
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected, rel=1e-6)
    assert len({round(value, 6) for value in expected.values()}) == 5
    own = choose_extractor("scattering").open("cpu")
    assert found["recall_scattering_v2"] == recall(own(images), own(noisy))
    assert "precision_scattering_v2" not in found


def test_metrics_are_computed_once_each(other_extractor):
    own = choose_extractor("scattering")
    asked = metrics_by_name(["fd:colours", "ms_ssim", "kid", "fd:colours"], extractor=own)
    assert [metric.name for metric in asked] == ["fd:colours", "ms_ssim", "kid"]
    assert [metric.key for metric in asked] == ["fd_colours", "ms_ssim", "kid_scattering_v2"]


def write(folder, count=4, side=40):
    for role, images in zip(("reference", "reconstruction"), pair(count, side), strict=True):
        (folder / role).mkdir()
        for number, image in enumerate(images):
            pixels = np.ascontiguousarray(image.permute(1, 2, 0))
            Image.fromarray(pixels).save(folder / role / f"{number}.png")


def run(folder, *more):
    return main(
        [
            *(f"{role}={folder / role}" for role in ("reference", "reconstruction")),
            f"output={folder / 'scores'}",
            "perceptual=none",
            *more,
        ]
    )


def test_the_command_writes_requested_metrics_to_table_and_record(
    tmp_path, capsys, other_extractor
):
    write(tmp_path)
    assert run(tmp_path, "extractor=scattering", "metrics=recall,kid:colours") == 0
    table = " ".join(capsys.readouterr().out.split())
    (file,) = (tmp_path / "scores").glob("*.json")
    record = json.loads(file.read_text())
    assert record["metrics"].keys() >= {"recall_scattering_v2", "kid_colours"}
    assert record["requested"] == ["recall", "kid:colours"]
    assert record["extractors"] == ["colours-v1"]
    assert f"| recall_scattering_v2 | {record['metrics']['recall_scattering_v2']:.6g} |" in table
    assert "`colours-v1`" in table
    assert run(tmp_path, "extractor=scattering", "metrics=recall") == 0
    assert len(list((tmp_path / "scores").glob("*.json"))) == 2  # another request, another record


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("metrics=precison", "unknown metric 'precison'; known:"),
        ("metrics=fd:dinov2", "unknown extractor 'dinov2'; known:"),
        ("metrics=sfid:vgg16", "got 'sfid:vgg16'; an extractor follows only fd:NAME"),
        ("metrics=fd:", "got 'fd:'; an extractor follows only fd:NAME"),
        ("metrics=ms_ssim,", "unknown metric ''"),
        ("metrics=pooled_psnr_db:vgg16", "an extractor follows only fd:NAME"),
        ("metrics=ms_ssim", "at least 176 x 176 pixels, got 40 x 40"),
        ("metrics=fd_infinity", "at least 672 images for 168 features"),
        ("metrics=fd:vgg16", "curl --create-dirs -Lo"),
        ("metrics=sfid", "curl --create-dirs -Lo"),
        ("extractor=inception-v3", "unknown extractor 'inception-v3'; known:"),
        ("device=gpu", "got device 'gpu'"),
    ],
)
def test_a_bad_request_is_one_message_and_writes_nothing(
    option, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    write(tmp_path)
    assert run(tmp_path, option) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert not (tmp_path / "scores").exists()


def test_a_plugin_brings_metrics_of_every_kind_and_an_extractor(tmp_path, forget_plugins):
    write(tmp_path)
    asked = "metrics=worst_level,worst_psnr_db,mean_shift,fd:scattering"
    assert run(tmp_path, "plugins=judge_plugin", "extractor=mean_colour", asked) == 0
    (file,) = (tmp_path / "scores").glob("*.json")
    record = json.loads(file.read_text())
    assert record["metrics"].keys() >= {
        *("fd_mean_colour", "kid_mean_colour", "worst_level", "worst_psnr_db"),
        *("mean_shift_mean_colour", "fd_scattering_v2"),
    }
    assert "rfid" not in record["metrics"]
    assert len(record["per_image"]["worst_level"]) == 4
    assert len(record["leave_group_out"]["mean_shift_mean_colour"]) == 4
    assert record["metrics"]["worst_psnr_db"] == min(record["per_image"]["psnr_db"])


def test_the_identity_hashes_the_images_whatever_the_batches(tmp_path, monkeypatch):
    write(tmp_path)
    for pixels in (2**20, 2 * 40 * 40):
        monkeypatch.setattr("bench.score.__main__.PIXELS_PER_BATCH", pixels)
        assert run(tmp_path, "extractor=scattering") == 0
    (file,) = (tmp_path / "scores").glob("*.json")
    record = json.loads(file.read_text())
    assert len(record["reference_sha256"]) == len(record["reconstruction_sha256"]) == 64
    assert record["reference_sha256"] != record["reconstruction_sha256"]
