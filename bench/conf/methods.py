"""Quantizers by name and their configuration, without Hydra: for commands that train no run."""

import inspect
from collections.abc import Mapping
from typing import Any

from bench.command_line import UsageError
from bench.conf.operating_point import bits_per_position
from bench.conf.plugins import signature_defaults
from bench.conf.quantizer_yaml import quantizer_yaml, quantizers_named
from quantizers import available, lookup


def node(name: str) -> dict[str, Any]:
    """What `operating_point.resolve` reads: a method's YAML, or for a plugin its signature."""
    return quantizer_yaml(name) or {"name": name, **signature_defaults(lookup(name))}


def rates(configuration: Mapping[str, Any]) -> list[float]:
    """Bits of a method's operating points, ascending; without a list, the bits of its defaults.

    Raises:
        UsageError: the method has no list, and its constructor needs more than the defaults.
    """
    if "rates" in configuration:
        return sorted(map(float, configuration["rates"]))
    name = configuration["name"]
    arguments = inspect.signature(lookup(name)).parameters
    try:
        defaults = {key: configuration[key] for key in arguments if key in configuration}
        return [bits_per_position(name, defaults)]
    except UsageError as error:
        raise UsageError(
            f"quantizer {name} has no operating points and cannot be built from its defaults: "
            f"{error}"
        ) from error


def chosen(text: str) -> list[str]:
    """The registered quantizers that `quantizer=` names; see `quantizers_named`."""
    return quantizers_named(text, available())
