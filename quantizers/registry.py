"""Parts by name: quantizers here, and in `models` and `bench` every other kind of part.

A decorator registers a part, `build` makes one, and a mistyped name or option is an error that
lists the known ones. For a quantizer, name = file stem = YAML stem = key in records.
"""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from quantizers.base import Quantizer

Part = TypeVar("Part")
Factory = TypeVar("Factory", bound=Callable[..., Any])
Q = TypeVar("Q", bound=type[Quantizer])


class Registry(Generic[Part]):
    """Factories of one kind of part, by name.

    Args:
        kind: what error messages call it, e.g. `discriminator`.
        modules: where built-in parts are defined, by name. A module is imported when its part is
            first asked for.
        given: parameters of the factories that are not options: `build` gets them from the code
            that calls it, not from the user.
    """

    def __init__(
        self, kind: str, *, modules: Mapping[str, str] | None = None, given: Iterable[str] = ()
    ) -> None:
        self.kind = kind
        self._factories: dict[str, Callable[..., Part]] = {}
        self._modules = dict(modules or {})
        self._given = frozenset(given)

    def register(self, name: str) -> Callable[[Factory], Factory]:
        """Decorator: makes a class or function known under a name.

        Raises:
            ValueError: the name is taken.
        """

        def add(factory: Factory) -> Factory:
            owner = self._factories.get(name)
            module = owner.__module__ if owner else self._modules.get(name, factory.__module__)
            if owner or module != factory.__module__:
                raise ValueError(
                    f"{self.kind} name {name!r} is taken by {module}; {factory.__module__} must "
                    "choose another"
                )
            self._factories[name] = factory
            return factory

        return add

    def available(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._factories.keys() | self._modules.keys())

    def lookup(self, name: str) -> Callable[..., Part]:
        """The class or function registered under a name.

        Raises:
            ValueError: unknown name; the message lists the known ones and the nearest one.
        """
        if name not in self._factories and name in self._modules:
            import_module(self._modules[name])
        if name not in self._factories:
            raise ValueError(_unknown(self.kind, name, self.available()))
        return self._factories[name]

    def options(self, name: str) -> dict[str, Any]:
        """The options of a part with their defaults; `inspect.Parameter.empty` where required."""
        return {
            key: parameter.default
            for key, parameter in inspect.signature(self.lookup(name)).parameters.items()
            if parameter.kind is not parameter.VAR_KEYWORD and key not in self._given
        }

    def build(self, name: str, **options: Any) -> Part:
        """Makes a part.

        Raises:
            ValueError: unknown name or option, a required option is missing, or the part refuses a
                value.
        """
        factory, known = self.lookup(name), self.options(name)
        parameters = inspect.signature(factory).parameters.values()
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            for key in options.keys() - known.keys() - self._given:
                raise ValueError(_unknown(f"option of {self.kind} {name}:", key, known))
        required = [key for key, default in known.items() if default is inspect.Parameter.empty]
        missing = [key for key in required if key not in options]
        if missing:
            raise ValueError(f"{self.kind} {name} needs {', '.join(missing)}")
        return factory(**options)


_QUANTIZERS: Registry[Quantizer] = Registry("quantizer")


def register(name: str) -> Callable[[Q], Q]:
    """Class decorator: makes a quantizer known under a name.

    Raises:
        ValueError: the name is taken by another class.
        TypeError: the class is not a `Quantizer`.
    """

    def add(cls: Q) -> Q:
        if not (isinstance(cls, type) and issubclass(cls, Quantizer)):
            raise TypeError(f"@register({name!r}) expects a subclass of Quantizer, got {cls!r}")
        return _QUANTIZERS.register(name)(cls)

    return add


def lookup(name: str) -> type[Quantizer]:
    """The class registered under a name; an unknown name lists the known and the nearest."""
    return _QUANTIZERS.lookup(name)  # type: ignore[return-value]  # `register` takes classes only


def build(name: str, **hyperparameters: Any) -> Quantizer:
    """Builds a registered quantizer from its hyper-parameters.

    Raises:
        ValueError: unknown name or hyper-parameter, or a value that the quantizer refuses.
    """
    return _QUANTIZERS.build(name, **hyperparameters)


def available() -> list[str]:
    """Names of all registered quantizers, sorted."""
    return _QUANTIZERS.available()


def load_entry_points() -> None:
    """Imports what installed packages offer under the entry-point group `quantizers`."""
    for entry_point in entry_points(group="quantizers"):
        entry_point.load()


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, list(known), n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return f"unknown {what} {name!r}; known: {', '.join(known)}{hint}"
