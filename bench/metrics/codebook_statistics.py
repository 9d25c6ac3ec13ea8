"""Counts the indices of an evaluation set, per codebook and jointly, batch by batch.

`bench.metrics.codebook` defines the reported quantities.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from bench.metrics.codebook import (
    CodebookReport,
    CodebookUse,
    JointUse,
    entropy_bits,
)
from bench.metrics.counting import (
    LARGEST_DENSE,
    DenseCounter,
    JointCounter,
    SparseCounter,
)


class CodebookStatistics:
    """Counts indices of a fixed set of codebooks.

    Args:
        codebook_sizes: codes in each codebook, as `Quantizer.codebook_sizes`; may be empty. Up to
            2^20 codes are counted in an array. Above that, memory grows with the codes seen, not
            with K.

    Raises:
        ValueError: a size is not in [1, 2^63].
    """

    def __init__(self, codebook_sizes: Sequence[int]) -> None:
        for codebook, size in enumerate(codebook_sizes):
            if not 1 <= size <= 1 << 63:
                raise ValueError(f"size of codebook {codebook} must be in [1, 2^63], got {size}")
        self.codebook_sizes = tuple(codebook_sizes)
        self._counters = [
            DenseCounter(size) if size <= LARGEST_DENSE else SparseCounter()
            for size in self.codebook_sizes
        ]
        # one codebook is its own joint code
        self._joint = JointCounter(self.codebook_sizes) if len(self.codebook_sizes) > 1 else None

    def add(self, indices: Int[Tensor, "b k *spatial"]) -> None:
        """Counts the indices of one batch, or none of them if one is invalid.

        Raises:
            TypeError: indices are not integers.
            ValueError: k is not the number of codebooks, or an index lies outside its codebook.
        """
        if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
            raise TypeError(f"indices must be integers, got {indices.dtype}")
        if indices.ndim < 2 or indices.shape[1] != len(self.codebook_sizes):
            raise ValueError(
                f"expected indices of shape (b, {len(self.codebook_sizes)}, *spatial) for "
                f"{len(self.codebook_sizes)} codebooks, got {tuple(indices.shape)}"
            )
        if indices.numel() == 0:
            return
        per_codebook = indices.detach().cpu().long().movedim(1, 0).flatten(1)
        for codebook, tokens in enumerate(per_codebook):
            self._check_range(codebook, tokens)
        for counter, tokens in zip(self._counters, per_codebook, strict=True):
            counter.add(tokens)
        if self._joint:
            self._joint.add(per_codebook)

    def result(self) -> CodebookReport:
        """Statistics of everything added so far. More may be added later.

        Raises:
            ValueError: there are codebooks, but no index was added.
        """
        uses = []
        for size, counter in zip(self.codebook_sizes, self._counters, strict=True):
            counts = counter.counts()
            if counts.numel() == 0:
                raise ValueError("no indices were added, so codebook usage is undefined")
            uses.append(
                CodebookUse(
                    codebook_size=size,
                    tokens=int(counts.sum()),
                    used_codes=counts.numel(),
                    entropy_bits=entropy_bits(counts),
                )
            )
        return CodebookReport(codebooks=tuple(uses), joint=self._joint_use(uses))

    def _joint_use(self, uses: Sequence[CodebookUse]) -> JointUse | None:
        if not uses:
            return None
        counts = self._joint.counts() if self._joint else self._counters[0].counts()
        return JointUse(
            capacity_bits=math.fsum(math.log2(size) for size in self.codebook_sizes),
            tokens=int(counts.sum()),
            used_codes=counts.numel(),
            entropy_bits=entropy_bits(counts),
        )

    def _check_range(self, codebook: int, tokens: Int[Tensor, " n"]) -> None:
        size = self.codebook_sizes[codebook]
        lowest, highest = (int(index) for index in tokens.aminmax())
        if lowest < 0 or highest >= size:
            value = lowest if lowest < 0 else highest
            raise ValueError(
                f"index {value} lies outside codebook {codebook}, expected 0 to {size - 1}"
            )
