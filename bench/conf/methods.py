"""The configuration of registered methods for commands that train no autoencoder, without Hydra."""

import fnmatch
import inspect
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import OmegaConf

from bench.command_line import did_you_mean
from bench.conf.plugins import signature_defaults
from bench.conf.schema import ConfigError
from quantizers import available, lookup

_YAML = Path(__file__).parent / "quantizer"


def node(name: str) -> dict[str, Any]:
    """What `operating_point.resolve` reads: a method's YAML, or for a plugin its signature."""
    path = _YAML / f"{name}.yaml"
    if path.exists():
        return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(path)))
    return {"name": name, **signature_defaults(lookup(name))}


def rates(node: dict[str, Any]) -> list[float]:
    """Bits of a method's operating points, ascending; without a list, those of its defaults.

    Raises:
        ConfigError: neither is there: a constructor needs more than its defaults.
    """
    if "rates" in node:
        return sorted(map(float, node["rates"]))
    cls = lookup(node["name"])
    signature = inspect.signature(cls).parameters
    try:
        defaults = {key: node[key] for key in signature if key in node}
        with torch.random.fork_rng():
            return [cls(**defaults).bits_per_position]
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"quantizer {node['name']} has no operating points and cannot be built from its "
            f"defaults: {error}"
        ) from error


def chosen(pattern: str) -> list[str]:
    """Names of methods: `gsq,vq`, or as on Hydra's command line `glob(*)` and `glob(*vq)`.

    Raises:
        ConfigError: an unknown name, with the known, or a pattern that none has.
    """
    if pattern.startswith("glob(") and pattern.endswith(")"):
        found = fnmatch.filter(available(), pattern[5:-1])
        if not found:
            raise ConfigError(did_you_mean("quantizer", pattern, available()))
        return found
    names = pattern.split(",")
    for name in names:
        if name not in available():
            raise ConfigError(did_you_mean("quantizer", name, available()))
    return names
