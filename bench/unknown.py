"""One line for a name that is not known: what came, what is known, what is nearest."""

import difflib
from collections.abc import Iterable


def unknown(what: str, value: str, known: Iterable[str]) -> str:
    """`unknown quantizer 'gqs'; known: fsq, gsq, lfq; did you mean 'gsq'?`."""
    known = sorted(known)
    nearest = difflib.get_close_matches(value, known, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    listed = f"known: {', '.join(known)}" if known else "see --help"
    return f"unknown {what} {value!r}; {listed}{hint}"
