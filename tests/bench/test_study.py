"""Studies: their YAMLs, their command lines, and the pages made from records."""

from itertools import pairwise

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf
from records import protocol, record

from bench import quantizer_yaml, study
from bench.operating_point import resolve
from bench.report.ledger import RATE_TOLERANCE
from bench.report.study_page import page, verdict
from bench.statistics import Difference


def recipe(point):
    """The recipe of a record, with the frame that a point asks for."""
    typed = [override.split("=") for override in point.overrides]
    frame = {key.rpartition(".")[2]: yaml.safe_load(value) for key, value in typed}
    return {"name": "tiny", "image_size": 32, "batch_size": 32, "frame": frame}


def run_of(point, seed, psnr, **metrics):
    """A record of a point whose images scatter around a mean."""
    generator = np.random.default_rng(seed)
    images = (psnr + generator.normal(0, 0.1, 40)).tolist()
    operating_point = study._operating_point(point.quantizer, point.rate)
    settings = operating_point | point.hyperparameters
    data = {"name": "photos", "fingerprint": "f", "description": "p", "test_images": 40}
    base = record(name=point.quantizer, seed=seed, psnr=float(np.mean(images)))
    return record(
        name=point.quantizer,
        seed=seed,
        run=f"{point.name}-seed{seed}",
        protocol=protocol(
            rate=point.rate,
            data=data,
            downsampling=point.downsampling or 4,
            recipe=recipe(point),
        ),
        quantizer={
            "name": point.quantizer,
            "hyperparameters": settings,
            "operating_point": ", ".join(f"{key}={value}" for key, value in settings.items()),
            "control": None,
        },
        metrics=base.metrics | {"psnr_db": float(np.mean(images))} | metrics,
        per_image={"psnr_db": images},
    )


def runs_of(chosen, values, seeds=(0, 1, 2), **metrics):
    points = {point.name: point for point in chosen.points}
    return [
        run_of(points[name], seed, psnr + 0.01 * seed, **metrics)
        for name, psnr in values.items()
        for seed in seeds
    ]


@pytest.mark.parametrize("name", study.available())
def test_every_point_of_every_study_is_a_run_within_two_percent_of_its_rate(name):
    for point in study.load(name).points:
        node = OmegaConf.load(quantizer_yaml.FOLDER / f"{point.quantizer}.yaml")
        settings = OmegaConf.to_container(node) | point.hyperparameters
        bits = resolve(settings, point.rate).bits_per_position
        assert bits == pytest.approx(point.rate, rel=RATE_TOLERANCE)


@pytest.mark.parametrize("name", study.available())
def test_the_header_of_every_study_gives_its_command(name):
    text = (study.FOLDER / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    assert f"python -m bench.run study={name}" in text


def test_lists_of_settings_are_all_combinations():
    names = [point.name for point in study.load("codebook_init").points]
    assert names == [
        "uniform codes, spherical=false",
        "uniform codes, spherical=true",
        "sphere codes, spherical=false",
        "sphere codes, spherical=true",
    ]


def test_what_is_typed_wins_over_the_study():
    chosen, others = study.requested(["study=gsq_groups", "seed=7", "recipe=smoke"])
    assert others == ["seed=7", "recipe=smoke"]
    line = chosen.command_lines(others)[1]
    assert line[:2] == ["quantizer=gsq", "rate=12"]
    assert line.index("seed=0,1,2") < line.index("seed=7")


@pytest.mark.parametrize("wrong", ["study=gsq_group", "study=", "study=gsq_groups,spatial"])
def test_an_unknown_study_lists_the_known(wrong):
    with pytest.raises(study.StudyError, match=r"gsq_groups"):
        study.requested([wrong])


def test_two_studies_are_refused():
    with pytest.raises(study.StudyError, match="one study at a time"):
        study.requested(["study=spatial", "study=gsq_groups"])


def test_a_point_owns_its_runs_alone():
    chosen = study.load("estimators")
    plain, rotation = chosen.points[:2]
    runs = [run_of(plain, 0, 20.0), run_of(rotation, 0, 20.0)]
    assert [plain.owns(run) for run in runs] == [True, False]
    assert [rotation.owns(run) for run in runs] == [False, True]


def test_a_point_without_settings_owns_no_run_with_some():
    point = next(p for p in study.load("rate_distortion").points if p.name == "vq at 10 bits")
    changed = study.load("estimators").points[1]
    assert point.owns(run_of(point, 0, 20.0))
    assert not point.owns(run_of(changed, 0, 20.0))


def test_the_page_judges_claims_by_their_intervals():
    chosen = study.load("gsq_groups")
    text = page(chosen, runs_of(chosen, {"1x16": 20, "2x8": 22, "4x4": 24, "8x2": 26, "16x1": 27}))
    first, second = (line for line in text.splitlines() if line.count("|") == 5 and "PSNR" in line)
    assert first.endswith("| holds |")
    assert second.endswith("| does not hold |")
    assert "| 8x2 | 10.00 |" in text
    assert "smoke" not in text


def test_too_few_seeds_resolve_nothing():
    chosen = study.load("gsq_groups")
    text = page(chosen, runs_of(chosen, {"1x16": 20, "8x2": 26, "16x1": 25}, seeds=(0, 1)))
    assert text.count("not resolved: fewer than 3 shared seeds") == 1
    assert text.count("not resolved: runs are missing or failed") == 1


def test_usage_is_judged_over_seeds():
    chosen = study.load("codebook_init")
    better, worse = chosen.claims[1].order
    runs = runs_of(chosen, {better: 20}, usage=0.9) + runs_of(chosen, {worse: 20}, usage=0.1)
    (line,) = (line for line in page(chosen, runs).splitlines() if "uses more codes" in line)
    assert line.endswith("| holds |")


def test_the_same_records_give_the_same_page_in_any_order():
    chosen = study.load("gsq_groups")
    runs = runs_of(chosen, {"1x16": 20, "2x8": 22, "4x4": 23})
    assert page(chosen, runs) == page(chosen, runs[::-1])


def test_another_recipe_is_another_section():
    chosen = study.load("gsq_groups")
    runs = runs_of(chosen, {"1x16": 20, "2x8": 22, "4x4": 23})
    other = [
        record(
            run=f"{run.run}-base",
            seed=run.seed,
            quantizer=run.quantizer,
            protocol=protocol(
                **{k: v for k, v in run.protocol.items() if k not in ("sha256", "recipe")},
                recipe={"name": "base", "image_size": 128, "batch_size": 64},
            ),
        )
        for run in runs
    ]
    assert page(chosen, runs + other).count("\n## ") == 2


def test_fewer_than_half_of_the_points_are_no_page():
    chosen = study.load("gsq_groups")
    assert page(chosen, runs_of(chosen, {"1x16": 20, "2x8": 22})) is None
    assert page(chosen, runs_of(chosen, {"1x16": 20, "2x8": 22, "8x2": 23})) is not None


def differences(*values, p=0.001):
    return [Difference(value=v, low=v - 1, high=v + 1, p=p, seeds=3, images=40) for v in values]


@pytest.mark.parametrize(
    ("found", "metric", "expected"),
    [
        (differences(1.0, 2.0), "psnr_db", "holds"),
        (differences(1.0, -2.0), "psnr_db", "does not hold"),
        (differences(1.0, 2.0), "fd_scattering_v1", "does not hold"),
        (differences(-1.0), "fd_scattering_v1", "holds"),
        (differences(1.0, p=0.2), "psnr_db", "not resolved at this budget"),
        (differences(-1.0, p=0.2), "psnr_db", "not resolved at this budget"),
        (differences(1.0, 1.0, p=0.03), "psnr_db", "not resolved at this budget"),  # Holm
    ],
)
def test_verdicts(found, metric, expected):
    assert verdict(found, metric) == expected


def test_orders_of_claims_name_each_point_once():
    for name in study.available():
        for claim in study.load(name).claims:
            assert len(set(claim.order)) == len(claim.order) > 1
            assert all(a != b for a, b in pairwise(claim.order))


def test_a_frame_of_another_study_is_no_run_of_a_point():
    vocab, spatial = study.load("vocab_dim"), study.load("spatial")
    point = next(p for p in vocab.points if p.name == "V=256, D=8")
    shared = [run_of(point, seed, 20.0) for seed in range(3)]
    others = [run_of(p, 0, 20.0) for p in vocab.points[:6]]
    factors = [run_of(spatial.points[0], seed, 29.0) for seed in range(3)]
    assert spatial.points[0].downsampling == 2
    assert page(vocab, shared + others + factors) == page(vocab, shared + others)
