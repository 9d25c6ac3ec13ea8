import copy

import pytest
from hydra.core.config_store import ConfigStore

from bench.command_line import UsageError
from bench.conf.compose import compose
from bench.conf.plugins import _store_choices, as_list, load, requested
from bench.conf.schema import DataConfig
from bench.data import DATA_SETS
from models import DISCRIMINATORS
from quantizers import Quantizer
from quantizers.registry import _QUANTIZERS


@pytest.mark.parametrize(
    ("arguments", "modules"),
    [
        ([], []),
        (["seed=1"], []),
        (["plugins=mine"], ["mine"]),
        (["plugins=a.b"], ["a.b"]),
        (["plugins=[one,two]", "seed=0,1"], ["one", "two"]),
        (["plugins=null"], []),
    ],
)
def test_plugins_are_read_off_the_command_line(arguments, modules):
    assert requested(arguments) == modules


def test_a_sweep_over_plugins_says_how_to_write_a_list():
    with pytest.raises(UsageError, match=r"plugins=\[one,two\]"):
        requested(["plugins=one,two"])


@pytest.mark.parametrize(("given", "modules"), [(None, []), ("a", ["a"]), (["a", "b"], ["a", "b"])])
def test_one_name_and_a_list_are_the_same(given, modules):
    assert as_list(given) == modules


def test_a_plugin_that_fails_to_import_is_named_with_its_error(tmp_path, monkeypatch):
    (tmp_path / "bad_plugin.py").write_text("raise RuntimeError('boom')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"bad_plugin cannot be imported \(RuntimeError: boom\)"):
        load(["bad_plugin"])


class Mine(Quantizer):
    def __init__(self, *, size, weights=(1, 2)):
        """Never called."""


def test_the_options_of_a_registered_part_are_keys_with_its_defaults(register, monkeypatch):
    compose([])  # Hydra stores its own choices on first use; the copy below must have them
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", copy.deepcopy(store.repo))
    register(_QUANTIZERS, "mine")(Mine)
    register(DATA_SETS, "mine")(lambda image_size, root, *, copies=1: None)
    register(DISCRIMINATORS, "mine")(lambda *, depth=2: None)
    _store_choices()
    typed = ["data.copies=4", "recipe.discriminator.depth=3"]
    config = compose(["quantizer=mine", "data=mine", "recipe/discriminator=mine", *typed])
    assert config.quantizer == {"name": "mine", "size": None, "weights": [1, 2]}
    assert config.data == DataConfig("mine", root=None, workers=0, options={"copies": 4})
    assert config.recipe.discriminator == {"name": "mine", "depth": 3}
    with pytest.raises(UsageError, match=r"did you mean 'data\.copies'"):
        compose(["data=mine", "data.copis=4"])
