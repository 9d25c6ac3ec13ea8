"""From a quantizer's configuration and a rate to its hyper-parameters.

A quantizer's YAML lists one operating point for each rate class under `rates`: the hyper-parameters
that set its rate. What the user types wins over the operating point. `tune` is for `bench.tune`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from bench.command_line import UsageError, known_name
from bench.record import RATE_TOLERANCE
from quantizers import Quantizer, build, lookup

_NOT_ARGUMENTS = ("name", "rates", "tune")


class NoOperatingPointError(UsageError):
    """A method has no operating point at a rate; a sweep over rates goes on without it."""


@dataclass(frozen=True)
class OperatingPoint:
    """A quantizer with every hyper-parameter set.

    Attributes:
        name: registered name.
        hyperparameters: the constructor's arguments.
        label: the hyper-parameters that set the rate or differ from the constructor's defaults, or
            all of them if there are none of these. Names a row and a run.
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


def resolve(configuration: Mapping[str, Any], rate: float) -> OperatingPoint:
    """Fills in the operating point at `rate` and checks that the rate is met.

    Args:
        configuration: `name`, the hyper-parameters, and optionally `rates` and `tune`.
        rate: bits per position.

    Raises:
        NoOperatingPointError: none at this rate; the message lists those there are.
        UsageError: a hyper-parameter that the method does not have or refuses, or a rate that is
            missed by more than 2 %.
    """
    name = configuration["name"]
    cls = lookup(name)
    rates = {float(key): point for key, point in configuration.get("rates", {}).items()}
    set_by_rate = list(dict.fromkeys(key for point in rates.values() for key in point))
    typed = {key: configuration[key] for key in configuration if key not in _NOT_ARGUMENTS}
    hyperparameters = _filled(typed, rates.get(rate, {}))
    missing = [key for key in set_by_rate if hyperparameters.get(key) is None]
    if missing:
        known = ", ".join(f"{known:g}" for known in sorted(rates))
        raise NoOperatingPointError(
            f"quantizer {name} has no operating point at rate={rate:g}; it has {known}; type one "
            f"of them, or give {' and '.join(f'quantizer.{key}=' for key in missing)}"
        )
    _check_arguments(cls, name, hyperparameters)
    label = _label(cls, hyperparameters, set_by_rate)
    bits = bits_per_position(name, hyperparameters)
    if cls.control is None and abs(bits - rate) > RATE_TOLERANCE * rate:
        raise UsageError(
            f"quantizer {name} with {label or 'its defaults'} has {bits:.2f} bits per position, "
            f"more than 2 % off rate={rate:g}; type rate={bits:.4g} or change the hyper-parameters"
        )
    return OperatingPoint(name, hyperparameters, label, cls.control, bits)


def bits_per_position(name: str, hyperparameters: Mapping[str, Any]) -> float:
    """The rate of a quantizer; draws no random number and needs no memory for its codes.

    Raises:
        UsageError: the quantizer refuses its hyper-parameters.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            try:
                with _NothingDrawn():
                    return build(name, **hyperparameters).bits_per_position
            except Exception:  # its own error, or it computes with numbers that were not drawn
                return build(name, **hyperparameters).bits_per_position
    except ValueError as error:
        raise UsageError(f"quantizer {name}: {error}") from error
    except Exception as error:  # from a plugin's constructor
        raise UsageError(f"quantizer {name}: {type(error).__name__}: {error}") from error


class _NothingDrawn(TorchFunctionMode):
    """Inside, random tensors are allocated and not filled, which takes neither time nor memory.

    The device `meta` would do the same; its first random tensor imports 500 modules.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if function in (torch.rand, torch.randn):
            return torch.empty(*args, **kwargs)
        if getattr(function, "__name__", "").endswith(("normal_", "uniform_")):
            return next(iter((*args, *kwargs.values())))  # the tensor to fill
        return function(*args, **kwargs)


def _filled(typed: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """What the user typed, and the operating point's values where the user left them open."""
    return {**typed, **{key: value for key, value in point.items() if typed.get(key) is None}}


def _check_arguments(cls: type[Quantizer], name: str, hyperparameters: Mapping[str, Any]) -> None:
    parameters = inspect.signature(cls).parameters
    for key in hyperparameters:
        known_name(f"hyper-parameter of quantizer {name}:", key, parameters)
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and hyperparameters.get(key) is None:
            raise UsageError(f"quantizer {name} needs {key}; type quantizer.{key}=")


def _label(
    cls: type[Quantizer], hyperparameters: Mapping[str, Any], set_by_rate: Sequence[str]
) -> str:
    parameters = inspect.signature(cls).parameters
    changed = [key for key, value in hyperparameters.items() if value != parameters[key].default]
    named = dict.fromkeys([*set_by_rate, *changed]) or hyperparameters
    return ", ".join(f"{key}={_text(hyperparameters[key])}" for key in named)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "(" + ",".join(str(item) for item in value) + ")"
    return str(value)
