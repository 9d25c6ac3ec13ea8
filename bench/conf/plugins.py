"""Quantizers, data sets and discriminators from elsewhere, as choices of the command line.

A module that `plugins=` names, and every entry point of the group `quantizers`, is imported. What
it registers gets a configuration from its signature, unless it has a YAML file.
"""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser

from bench.command_line import UsageError
from bench.conf import CONF


def requested(arguments: Sequence[str]) -> list[str]:
    """The modules that `plugins=` names on a command line.

    Raises:
        UsageError: several plugins that are not a list; each run would get only one of them.
    """
    given = [argument for argument in arguments if argument.startswith("plugins=")]
    modules: list[str] = []
    for override in OverridesParser.create().parse_overrides(given):
        if override.is_sweep_override():
            raise UsageError(f"several plugins are a list: type 'plugins=[{given[-1][8:]}]'")
        modules = as_list(override.value())
    return modules


def as_list(plugins: Any) -> list[str]:
    """`plugins` of a configuration as module names: null, one name or a list."""
    if plugins is None:
        return []
    return [str(plugins)] if isinstance(plugins, str) else [str(name) for name in plugins]


def load(modules: Sequence[str]) -> None:
    """Imports plugins and entry points, and gives what they registered a configuration.

    Raises:
        UsageError: a module cannot be imported or registers badly.
    """
    if not modules and not entry_points(group="quantizers"):
        return  # so that `--help` does not import torch
    import quantizers

    quantizers.load_entry_points()
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:
            raise UsageError(
                f"plugin {name} cannot be imported ({type(error).__name__}: {error}); "
                "is its folder on PYTHONPATH?"
            ) from error
    _store_choices()


def _store_choices() -> None:
    """Gives every part without a YAML file a choice of its Hydra group."""
    import quantizers
    from bench.data import DATA_SETS
    from models import DISCRIMINATORS

    for name in _without_yaml("quantizer", quantizers.available()):
        _store("quantizer", name, signature_defaults(quantizers.lookup(name)))
    for name in _without_yaml("data", DATA_SETS.available()):
        _store("data", name, {"root": None, "workers": 0, **_plain(DATA_SETS.options(name))})
    for name in _without_yaml("recipe/discriminator", DISCRIMINATORS.available()):
        _store("recipe/discriminator", name, _plain(DISCRIMINATORS.options(name)))


def _without_yaml(group: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if not (CONF / group / f"{name}.yaml").exists()]


def _store(group: str, name: str, options: Mapping[str, Any]) -> None:
    ConfigStore.instance().store(name, {"name": name, **options}, group=group)


def stored(group: str) -> list[Mapping[str, Any]]:
    """The configurations of a group's parts that have no YAML file."""
    store = ConfigStore.instance()
    try:
        return [store.load(f"{group}/{name}").node for name in store.list(group)]
    except OSError:  # no plugin registered one
        return []


def signature_defaults(cls: type) -> dict[str, Any]:
    """A constructor's arguments with their defaults; null where there is none."""
    parameters = inspect.signature(cls).parameters.items()
    return _plain({key: p.default for key, p in parameters if p.kind is not p.VAR_KEYWORD})


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as in YAML: null where a value is required, a list for a tuple."""
    empty = inspect.Parameter.empty
    return {
        name: None if value is empty else list(value) if isinstance(value, tuple) else value
        for name, value in options.items()
    }
