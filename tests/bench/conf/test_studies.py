"""Studies: their YAMLs, their command lines, and which records are theirs."""

from itertools import pairwise

import pytest
from study_records import run_of

from bench.command_line import UsageError
from bench.conf import studies as study
from bench.conf.compose import compose
from bench.conf.operating_point import resolve
from bench.conf.quantizer_yaml import quantizer_yaml


@pytest.mark.parametrize("name", study.available())
def test_every_point_of_every_study_meets_its_rate(name):
    for point in study.load(name).points:
        resolve(quantizer_yaml(point.quantizer) | point.hyperparameters, point.rate)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["base", "paper"])
@pytest.mark.parametrize("name", study.available())
def test_every_point_of_every_study_runs_unchanged_under_larger_recipes(name, recipe):
    for point in study.load(name).points:
        config = compose([*point.arguments(), f"recipe={recipe}"])
        resolve(config.quantizer, config.rate)
        levels = len(config.recipe.frame.multipliers)
        assert point.downsampling in (None, 2 ** (levels - 1))


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
    with pytest.raises(UsageError, match=r"gsq_groups"):
        study.requested([wrong])


def test_two_studies_are_refused():
    with pytest.raises(UsageError, match="one study at a time"):
        study.requested(["study=spatial", "study=gsq_groups"])


def test_a_point_owns_only_its_own_runs():
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


def test_orders_of_claims_name_each_point_once():
    for name in study.available():
        for claim in study.load(name).claims:
            assert len(set(claim.order)) == len(claim.order) > 1
            assert all(a != b for a, b in pairwise(claim.order))
