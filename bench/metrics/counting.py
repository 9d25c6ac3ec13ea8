"""Exact, streamed counts of codes: an array for small codebooks, a sorted table for large ones.

The table's memory grows with the codes seen, not with the size of the codebook. A joint code of
several codebooks is a row of the table: their indices, packed into few int64 columns.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

LARGEST_DENSE = 1 << 20  # codes, 8 MiB of counts; larger codebooks are counted sparsely
_MERGE_AT_LEAST = 1 << 20  # tokens
_COLUMN = 1 << 63  # distinct codes in an int64 column


class DenseCounter:
    """Counts in an array with one entry per code."""

    def __init__(self, size: int) -> None:
        self._counts = torch.zeros(size, dtype=torch.int64)

    def add(self, tokens: Int[Tensor, " n"]) -> None:
        """Counts the tokens, all in [0, size)."""
        self._counts += torch.bincount(tokens, minlength=len(self._counts))

    def counts(self) -> Int[Tensor, " u"]:
        """How often each used code occurred."""
        return self._counts[self._counts > 0]


class SparseCounter:
    """Counts in a sorted list of the rows seen. New rows wait until a merge is worth the sort."""

    def __init__(self, columns: int = 1) -> None:
        self._rows = torch.empty(0, columns, dtype=torch.int64)
        self._counts = torch.empty(0, dtype=torch.int64)
        self._waiting: list[Tensor] = []
        self._waiting_rows = 0

    def add(self, tokens: Int[Tensor, " n"] | Int[Tensor, "n c"]) -> None:
        """Counts tokens, or rows with the counter's number of columns."""
        rows = tokens.reshape(len(tokens), -1)
        self._waiting.append(rows.clone())  # the caller may overwrite its tensor
        self._waiting_rows += len(rows)
        if self._waiting_rows >= max(_MERGE_AT_LEAST, len(self._rows)):
            self._merge()

    def counts(self) -> Int[Tensor, " u"]:
        """How often each row seen occurred."""
        self._merge()
        return self._counts

    def _merge(self) -> None:
        if not self._waiting:
            return
        waiting = torch.cat(self._waiting)
        weights = torch.cat([self._counts, torch.ones_like(waiting[:, 0])])
        self._rows, position = _unique_rows(torch.cat([self._rows, waiting]))
        self._counts = weights.new_zeros(len(self._rows)).index_add_(0, position, weights)
        self._waiting, self._waiting_rows = [], 0


class JointCounter:
    """Counts joint codes of several codebooks.

    Args:
        codebook_sizes: codes in each codebook; their product may exceed any integer type.
    """

    def __init__(self, codebook_sizes: Sequence[int]) -> None:
        self._columns = _pack_columns(codebook_sizes)
        self._sizes = tuple(codebook_sizes)
        self._counter = SparseCounter(len(self._columns))

    def add(self, indices: Int[Tensor, "k n"]) -> None:
        """Counts n positions with one index per codebook each."""
        columns = []
        for codebooks in self._columns:
            packed = torch.zeros_like(indices[0])
            for codebook in codebooks:
                packed = packed * self._sizes[codebook] + indices[codebook]
            columns.append(packed)
        self._counter.add(torch.stack(columns, dim=1))

    def counts(self) -> Int[Tensor, " u"]:
        """How often each joint code seen occurred."""
        return self._counter.counts()


def _pack_columns(codebook_sizes: Sequence[int]) -> list[list[int]]:
    """Groups of consecutive codebooks; the sizes in a group multiply to at most 2^63."""
    columns: list[list[int]] = []
    for codebook in range(len(codebook_sizes)):
        longer = [*columns[-1], codebook] if columns else [codebook]
        if columns and math.prod(codebook_sizes[c] for c in longer) <= _COLUMN:
            columns[-1] = longer
        else:
            columns.append([codebook])
    return columns


def _unique_rows(rows: Int[Tensor, "n c"]) -> tuple[Int[Tensor, "u c"], Int[Tensor, " n"]]:
    """Distinct rows, sorted, and the index of each given row among them."""
    if rows.shape[1] == 1:  # many times faster than the search for rows
        values, position = rows[:, 0].unique(return_inverse=True)
        return values[:, None], position
    return rows.unique(dim=0, return_inverse=True)
