"""Selection by name, with an error that lists what there is."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def choose(choices: Mapping[str, T], name: str, *, what: str) -> T:
    """The entry called `name`.

    Raises:
        ValueError: there is no such entry; the message lists the known names and the nearest one.
            `what` says in it what was asked for, e.g. "discriminator".
    """
    if name not in choices:
        nearest = difflib.get_close_matches(name, choices, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"unknown {what} {name!r}; known: {', '.join(sorted(choices))}{hint}")
    return choices[name]
