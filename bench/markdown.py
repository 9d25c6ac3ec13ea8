"""Tables as text: Markdown for files, aligned columns for the terminal. Needs no torch."""

from collections.abc import Mapping, Sequence

import pandas as pd


def markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    """A Markdown table; the keys of the rows are the column heads, and a missing one is `-`."""
    return _table(rows, "pipe")


def terminal_table(rows: Sequence[Mapping[str, str]]) -> str:
    """The same for a terminal."""
    return _table(rows, "simple")


def _table(rows: Sequence[Mapping[str, str]], style: str) -> str:
    frame = pd.DataFrame(list(rows)).fillna("-")
    return str(frame.to_markdown(index=False, tablefmt=style, disable_numparse=True))
