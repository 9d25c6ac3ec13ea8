"""Quantizers from outside this repository, as choices of the command line.

A module named by `plugins=` and every entry point of the group `quantizers` is imported; what it
registers gets a configuration from its constructor's signature, unless it has a YAML of its own.
"""

import importlib
import inspect
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser

from bench.conf.schema import ConfigError

_YAML = Path(__file__).parent / "quantizer"


def requested(arguments: Sequence[str]) -> list[str]:
    """The modules that `plugins=` names on a command line.

    Raises:
        ConfigError: a sweep over plugins, which would run each method with one plugin only.
    """
    given = [argument for argument in arguments if argument.startswith("plugins=")]
    modules: list[str] = []
    for override in OverridesParser.create().parse_overrides(given):
        if override.is_sweep_override():
            raise ConfigError(f"several plugins are a list: type 'plugins=[{given[-1][8:]}]'")
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
        ConfigError: a module cannot be imported or registers badly.
    """
    if not modules and not entry_points(group="quantizers"):
        return  # spares `--help` the import of torch
    import quantizers

    quantizers.load_entry_points()
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:
            raise ConfigError(
                f"plugin {name} cannot be imported ({type(error).__name__}: {error}); "
                "is its folder on PYTHONPATH?"
            ) from error
    for name in quantizers.available():
        if not (_YAML / f"{name}.yaml").exists():
            node = {"name": name, **signature_defaults(quantizers.lookup(name))}
            ConfigStore.instance().store(group="quantizer", name=name, node=node)


def signature_defaults(cls: type) -> dict[str, Any]:
    """A constructor's arguments with their defaults; null where there is none."""
    return {
        name: _plain(parameter.default)
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    }


def _plain(default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return None
    return list(default) if isinstance(default, tuple) else default
