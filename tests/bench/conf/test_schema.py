import inspect
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from bench.conf.operating_point import resolve
from bench.conf.schema import BenchConfig, ConfigError, parse, register_schema
from bench.record import RATE_TOLERANCE
from quantizers import available, lookup

CONF = Path("bench/conf")


def composed(*overrides: str):
    register_schema()
    with initialize_config_dir(config_dir=str(CONF.resolve()), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def node(name: str) -> dict:
    return OmegaConf.to_container(OmegaConf.load(CONF / "quantizer" / f"{name}.yaml"))


POINTS = [
    (name, rate)
    for name in available()
    if lookup(name).control is None
    for rate in node(name).get("rates", {})
]


def test_every_quantizer_has_one_yaml_and_every_yaml_a_quantizer():
    assert sorted(path.stem for path in (CONF / "quantizer").glob("*.yaml")) == available()


@pytest.mark.parametrize("name", available())
def test_yaml_states_every_hyperparameter_with_the_default_of_the_constructor(name):
    yaml = node(name)
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
    point = resolve(node(name), float(rate))
    assert point.bits_per_position == pytest.approx(rate, rel=RATE_TOLERANCE)
    assert point.build().bits_per_position == point.bits_per_position


@pytest.mark.parametrize("name", available())
def test_all_operating_points_of_a_method_set_the_same_hyperparameters(name):
    """What one alone sets would count as open at the others, and change their labels."""
    rates = node(name).get("rates", {})
    assert len({float(rate) for rate in rates}) == len(rates)
    assert len({frozenset(point) for point in rates.values()}) <= 1


@pytest.mark.parametrize("recipe", ["smoke", "tiny", "base", "paper"])
def test_every_recipe_parses_into_plain_dataclasses(recipe):
    config = parse(composed(f"recipe={recipe}"))
    assert isinstance(config, BenchConfig)
    assert config.recipe.name == recipe
    assert config.steps == config.recipe.steps


@pytest.mark.parametrize(("budget", "factor"), [("S", 1), ("M", 3), ("L", 10)])
def test_budgets_multiply_the_steps(budget, factor):
    assert parse(composed(f"budget={budget}", "recipe.steps=7")).steps == 7 * factor


def test_data_sets_of_the_command_line_are_those_of_the_code():
    from bench.data import DATA_SETS

    stems = [path.stem for path in (CONF / "data").glob("*.yaml")]
    assert sorted(stems) == DATA_SETS.available()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("budget=XL", "S, M, L"),
        ("device=tpu", "auto, cpu, cuda"),
        ("precision=half", "bfloat16"),
        ("recipe.steps=0", "at least 1"),
        ("seed=-1", "negative"),
    ],
)
def test_values_that_types_allow_but_no_run_can_use_are_refused(override, words):
    with pytest.raises(ConfigError, match=words):
        parse(composed(override))


def test_help_names_every_key():
    template = OmegaConf.load(CONF / "config.yaml").hydra.help.template
    groups = {"quantizer", "recipe", "data"}
    for key in set(BenchConfig.__dataclass_fields__) - groups:
        assert f"\n  {key}=" in template, key
