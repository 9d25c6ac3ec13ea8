import inspect

import pytest
from omegaconf import OmegaConf

from bench.command_line import UsageError
from bench.conf import CONF
from bench.conf.compose import compose
from bench.conf.operating_point import resolve
from bench.conf.quantizer_yaml import quantizer_yaml
from bench.conf.schema import BenchConfig
from quantizers import available, lookup

POINTS = [
    (name, rate)
    for name in available()
    if lookup(name).control is None
    for rate in quantizer_yaml(name).get("rates", {})
]


def test_every_quantizer_has_one_yaml_and_every_yaml_a_quantizer():
    assert sorted(path.stem for path in (CONF / "quantizer").glob("*.yaml")) == available()


@pytest.mark.parametrize("name", available())
def test_yaml_states_every_hyperparameter_with_the_default_of_the_constructor(name):
    yaml = dict(quantizer_yaml(name))
    set_by_rate = {key for point in yaml.pop("rates", {}).values() for key in point}
    assert yaml.pop("name") == name
    assert set(yaml.pop("tune", {})) <= set(yaml) - set_by_rate
    parameters = inspect.signature(lookup(name)).parameters
    assert set(yaml) == set(parameters)
    for key in set(yaml) - set_by_rate:
        default = parameters[key].default
        assert default is not inspect.Parameter.empty, key
        assert yaml[key] == default, key


@pytest.mark.parametrize(("name", "rate"), POINTS)
def test_operating_points_meet_their_rate_within_two_percent(name, rate):
    point = resolve(quantizer_yaml(name), float(rate))  # refuses a rate that is missed by more
    assert point.build().bits_per_position == point.bits_per_position


@pytest.mark.parametrize("name", available())
def test_all_operating_points_of_a_method_set_the_same_hyperparameters(name):
    """One that only some of them set would count as open at the others, and change their labels."""
    rates = quantizer_yaml(name).get("rates", {})
    assert len({float(rate) for rate in rates}) == len(rates)
    assert len({frozenset(point) for point in rates.values()}) <= 1


@pytest.mark.parametrize("recipe", ["smoke", "tiny", "base", "paper"])
def test_every_recipe_parses_into_plain_dataclasses(recipe):
    config = compose([f"recipe={recipe}"])
    assert isinstance(config, BenchConfig)
    assert config.recipe.name == recipe
    assert config.steps == config.recipe.steps


@pytest.mark.parametrize(("budget", "factor"), [("S", 1), ("M", 3), ("L", 10)])
def test_budgets_multiply_the_steps(budget, factor):
    assert compose([f"budget={budget}", "recipe.steps=7"]).steps == 7 * factor


def test_data_sets_of_the_command_line_are_those_of_the_code():
    from bench.data import DATA_SETS

    stems = [path.stem for path in (CONF / "data").glob("*.yaml")]
    assert sorted(stems) == DATA_SETS.available()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("budget=XL", "known: L, M, S"),
        ("device=tpu", "auto, cpu, cuda"),
        ("precision=half", "bfloat16"),
        ("recipe.steps=0", "at least 1"),
        ("data.workers=abc", "data.workers=abc must be a whole number"),
        ("recipe.steps=abc", "'abc' of type 'str' could not be converted to Integer"),
        ("extractor=3", "extractor must be a name"),
        ("seed=-1", "negative"),
    ],
)
def test_values_that_types_allow_but_no_run_can_use_are_refused(override, words):
    with pytest.raises(UsageError, match=words):
        compose([override])


def test_help_names_every_key():
    template = OmegaConf.load(CONF / "config.yaml").hydra.help.template
    groups = {"quantizer", "recipe", "data"}
    for key in set(BenchConfig.__dataclass_fields__) - groups:
        assert f"\n  {key}=" in template, key


def test_a_choice_replaces_the_discriminator_whole():
    assert compose([]).recipe.discriminator == {"name": "patchgan", "channels": 32, "layers": 2}
    assert compose(["recipe/discriminator=none"]).recipe.discriminator == {"name": "none"}
    typed = compose(["recipe=base", "recipe.discriminator.channels=4"])
    assert typed.recipe.discriminator == {"name": "patchgan", "channels": 4, "layers": 3}


def test_a_part_is_a_name_or_a_mapping_with_options():
    config = compose(["extractor={name: mine, size: 3}", "recipe.losses.perceptual=none"])
    assert config.extractor == {"name": "mine", "size": 3}
    assert config.recipe.losses.perceptual == "none"
