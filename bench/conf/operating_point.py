"""From a quantizer's configuration and a rate to its hyper-parameters.

A quantizer's YAML lists, under `rates`, the hyper-parameters that set its rate, one operating
point for each rate class. What the user types wins over the operating point. What is under `tune`
is for `bench.tune` alone.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.conf.schema import ConfigError
from bench.record import RATE_TOLERANCE
from quantizers import Quantizer, build, lookup


class NoOperatingPointError(ConfigError):
    """A method has no operating point at a rate: a sweep over rates goes on without it."""


@dataclass(frozen=True)
class OperatingPoint:
    """A quantizer with every hyper-parameter set.

    Attributes:
        name: registered name.
        hyperparameters: the constructor's arguments.
        label: the hyper-parameters that set the rate or differ from the constructor's defaults; for
            a method with neither, all of them. Names a row and a run.
        control: why it bounds the others instead of competing, or None.
        bits_per_position: nominal rate; infinite for a continuous control.
    """

    name: str
    hyperparameters: dict[str, Any]
    label: str
    control: str | None
    bits_per_position: float

    def build(self) -> Quantizer:
        """A fresh quantizer; its initial weights come from torch's global generator."""
        return build(self.name, **self.hyperparameters)


def resolve(node: Mapping[str, Any], rate: float) -> OperatingPoint:
    """Fills in the operating point at `rate` and checks that the rate is met.

    Args:
        node: `name`, the hyper-parameters, and optionally `rates` and `tune`.
        rate: bits per position.

    Raises:
        NoOperatingPointError: none at this rate; the message lists those there are.
        ConfigError: a hyper-parameter the method does not have or refuses, or a rate that is
            missed by more than 2 %.
    """
    name = node["name"]
    cls = lookup(name)
    hyperparameters = {key: node[key] for key in node if key not in ("name", "rates", "tune")}
    rates = {float(key): point for key, point in node.get("rates", {}).items()}
    label = _fill(name, hyperparameters, rates, rate)
    _check_arguments(cls, name, hyperparameters)
    label += _changed(cls, hyperparameters, skip=set().union(*rates.values()) if rates else set())
    try:
        bits = build(name, **hyperparameters).bits_per_position
    except ValueError as error:
        raise ConfigError(f"quantizer {name}: {error}") from error
    except Exception as error:  # a constructor of somebody's own
        raise ConfigError(f"quantizer {name}: {type(error).__name__}: {error}") from error
    if cls.control is None and abs(bits - rate) > RATE_TOLERANCE * rate:
        raise ConfigError(
            f"quantizer {name} with {', '.join(label) or 'these hyper-parameters'} has {bits:.2f} "
            f"bits per position, more than 2 % off rate={rate:g}; type rate={bits:.4g} or change "
            f"the hyper-parameters"
        )
    label = label or [f"{key}={_text(value)}" for key, value in hyperparameters.items()]
    return OperatingPoint(name, hyperparameters, ", ".join(label), cls.control, bits)


def _fill(
    name: str, hyperparameters: dict[str, Any], rates: Mapping[float, Any], rate: float
) -> list[str]:
    """Sets what the user left open from the operating point; returns the label's parts."""
    keys = list(dict.fromkeys(key for point in rates.values() for key in point))
    point = rates.get(rate, {})
    for key in keys:
        if hyperparameters.get(key) is None and key in point:
            hyperparameters[key] = point[key]
    missing = [key for key in keys if hyperparameters.get(key) is None]
    if missing:
        known = ", ".join(f"{known:g}" for known in sorted(rates))
        raise NoOperatingPointError(
            f"quantizer {name} has no operating point at rate={rate:g}; it has {known}; type one "
            f"of them, or give {' and '.join(f'quantizer.{key}=' for key in missing)}"
        )
    return [f"{key}={_text(hyperparameters[key])}" for key in keys]


def _check_arguments(cls: type[Quantizer], name: str, hyperparameters: Mapping[str, Any]) -> None:
    parameters = inspect.signature(cls).parameters
    unknown = sorted(set(hyperparameters) - set(parameters))
    if unknown:
        raise ConfigError(
            f"quantizer {name} has no hyper-parameter {', '.join(unknown)}; "
            f"it has {', '.join(parameters)}"
        )
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and hyperparameters.get(key) is None:
            raise ConfigError(f"quantizer {name} needs {key}; type quantizer.{key}=")


def _changed(cls: type[Quantizer], hyperparameters: Mapping[str, Any], skip: set[str]) -> list[str]:
    """What differs from the constructor's defaults, beyond the operating point."""
    defaults = {key: p.default for key, p in inspect.signature(cls).parameters.items()}
    return [
        f"{key}={_text(value)}"
        for key, value in hyperparameters.items()
        if key not in skip and value != defaults[key]
    ]


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "(" + ",".join(str(item) for item in value) + ")"
    return str(value)
