"""One dictionary from name to class. Name = file stem = YAML stem = key in records."""

import difflib
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, TypeVar

from quantizers.base import Quantizer

Q = TypeVar("Q", bound=type[Quantizer])

_QUANTIZERS: dict[str, type[Quantizer]] = {}


def register(name: str) -> Callable[[Q], Q]:
    """Class decorator: makes a quantizer known under a name.

    Raises:
        ValueError: the name is taken by another class.
        TypeError: the class is no `Quantizer`.
    """

    def add(cls: Q) -> Q:
        if not (isinstance(cls, type) and issubclass(cls, Quantizer)):
            raise TypeError(f"@register({name!r}) expects a subclass of Quantizer, got {cls!r}")
        if name in _QUANTIZERS:
            raise ValueError(
                f"quantizer name {name!r} is taken by {_QUANTIZERS[name].__module__}; "
                f"{cls.__module__} must choose another"
            )
        _QUANTIZERS[name] = cls
        return cls

    return add


def lookup(name: str) -> type[Quantizer]:
    """The class registered under a name; an unknown name lists the known and the nearest."""
    if name not in _QUANTIZERS:
        nearest = difflib.get_close_matches(name, available(), n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"unknown quantizer {name!r}; known: {', '.join(available())}{hint}")
    return _QUANTIZERS[name]


def build(name: str, **hyperparameters: Any) -> Quantizer:
    """Builds a registered quantizer from its hyper-parameters."""
    return lookup(name)(**hyperparameters)


def available() -> list[str]:
    """Names of all registered quantizers, sorted."""
    return sorted(_QUANTIZERS)


def load_entry_points() -> None:
    """Imports what installed packages offer under the entry-point group `quantizers`."""
    for entry_point in entry_points(group="quantizers"):
        entry_point.load()
