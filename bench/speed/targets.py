"""Targets, and whether the worst of what was measured keeps them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

SetOut = Callable[[], Callable[[], Any]]


@dataclass(frozen=True)
class Target:
    """What should be reached, and whether it was.

    Attributes:
        what: the target, with its number.
        measured: the number beside it, and where it was found.
        reached: None where nothing was measured that could tell.
        set_out: makes the call behind the number, for a profile of it.
    """

    what: str
    measured: str
    reached: bool | None
    set_out: SetOut | None = None


def at_most(
    what: str,
    values: Mapping[str, float],
    limit: float,
    text: Callable[[float], str],
    calls: Mapping[str, SetOut] | None = None,
) -> Target:
    """Reached where the largest of the values, by the label of each, is at most the limit.

    `calls` has, by the same labels, what a profile should be of.
    """
    if not values:
        return Target(what, "-", None)
    label, worst = max(values.items(), key=lambda item: item[1])
    return Target(what, f"{text(worst)} ({label})", worst <= limit, (calls or {}).get(label))


def at_least(
    what: str,
    values: Mapping[str, float],
    limit: float,
    text: Callable[[float], str],
    calls: Mapping[str, SetOut] | None = None,
) -> Target:
    """Reached where the smallest of the values, by the label of each, is at least the limit."""
    if not values:
        return Target(what, "-", None)
    label, worst = min(values.items(), key=lambda item: item[1])
    return Target(what, f"{text(worst)} ({label})", worst >= limit, (calls or {}).get(label))


def times(ratio: float) -> str:
    """`1.23 times`."""
    return f"{ratio:.3g} times"
