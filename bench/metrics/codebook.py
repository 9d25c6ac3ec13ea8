"""Use of the codebooks on an evaluation set: exact counts of indices, streamed batch by batch.

Per codebook of K codes, after N tokens with code frequencies p:

- usage: codes seen at least once / K. Bounded by N: a perfectly uniform code is expected to show
  only 1 - (1 - 1/K)^N of its codes, the ceiling, which is reported beside it.
- entropy: -sum p log2 p bits, the plug-in estimate (biased downward where N is not far above K).
- perplexity: 2^entropy; K for uniform use, 1 for a single code. 1 <= perplexity <= used codes.

Codebooks are never pooled into one histogram, since that hides the collapse of one of them. Over
several codebooks the tables show the mean usage and the product of perplexities, which is the
perplexity of the joint code if the codebooks were independent, and an upper bound of it if not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

_LARGEST_DENSE = 1 << 20  # codes; 8 MiB of counts. Larger codebooks are counted sparsely
_MERGE_AT_LEAST = 1 << 20  # tokens


@dataclass(frozen=True, kw_only=True)
class CodebookUse:
    """How one codebook was used.

    Attributes:
        codebook_size: number of codes K.
        tokens: indices seen, N.
        used_codes: distinct indices seen.
        entropy_bits: plug-in entropy of the indices, in bits per token.
    """

    codebook_size: int
    tokens: int
    used_codes: int
    entropy_bits: float

    @property
    def usage(self) -> float:
        """Used codes / K."""
        return self.used_codes / self.codebook_size

    @property
    def usage_ceiling(self) -> float:
        """Usage expected of N uniform tokens: 1 - (1 - 1/K)^N."""
        if self.codebook_size == 1:
            return 1.0
        return -math.expm1(self.tokens * math.log1p(-1 / self.codebook_size))

    @property
    def perplexity(self) -> float:
        """2^entropy, the effective number of codes."""
        return 2.0**self.entropy_bits


@dataclass(frozen=True, kw_only=True)
class CodebookReport:
    """How all codebooks were used; without any (a continuous latent) every aggregate is None."""

    codebooks: tuple[CodebookUse, ...]

    @property
    def mean_usage(self) -> float | None:
        """Usage averaged over codebooks."""
        return self._mean([codebook.usage for codebook in self.codebooks])

    @property
    def mean_usage_ceiling(self) -> float | None:
        """Ceiling of the usage averaged over codebooks."""
        return self._mean([codebook.usage_ceiling for codebook in self.codebooks])

    @property
    def entropy_bits(self) -> float | None:
        """Sum of the entropies in bits per position: the rate of coding each codebook alone."""
        if not self.codebooks:
            return None
        return math.fsum(codebook.entropy_bits for codebook in self.codebooks)

    @property
    def perplexity(self) -> float | None:
        """Product of the perplexities, 2^(sum of entropies); infinite from 1024 bits on."""
        bits = self.entropy_bits
        if bits is None:
            return None
        return 2.0**bits if bits < 1024 else math.inf

    @property
    def relative_perplexity(self) -> float | None:
        """Product of the perplexities / product of the codebook sizes, in (0, 1]."""
        bits = self.entropy_bits
        if bits is None:
            return None
        return 2.0 ** (bits - math.fsum(math.log2(c.codebook_size) for c in self.codebooks))

    @staticmethod
    def _mean(values: list[float]) -> float | None:
        return math.fsum(values) / len(values) if values else None


class CodebookStatistics:
    """Counts indices of a fixed set of codebooks.

    Args:
        codebook_sizes: codes in each codebook, as `Quantizer.codebook_sizes`; may be empty. Up to
            2^20 codes are counted in an array; above that memory follows the codes seen, not K.

    Raises:
        ValueError: a size is not in [1, 2^63].
    """

    def __init__(self, codebook_sizes: Sequence[int]) -> None:
        for codebook, size in enumerate(codebook_sizes):
            if not 1 <= size <= 1 << 63:
                raise ValueError(f"size of codebook {codebook} must be in [1, 2^63], got {size}")
        self.codebook_sizes = tuple(codebook_sizes)
        self._counters = [
            _DenseCounter(size) if size <= _LARGEST_DENSE else _SparseCounter()
            for size in self.codebook_sizes
        ]

    def add(self, indices: Int[Tensor, "b k *spatial"]) -> None:
        """Counts the indices of one batch; nothing is counted if one of them is refused.

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

    def result(self) -> CodebookReport:
        """Statistics of everything added so far; more may be added afterwards.

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
                    entropy_bits=_entropy_bits(counts),
                )
            )
        return CodebookReport(codebooks=tuple(uses))

    def _check_range(self, codebook: int, tokens: Int[Tensor, " n"]) -> None:
        size = self.codebook_sizes[codebook]
        lowest, highest = (int(value) for value in tokens.aminmax())
        if lowest < 0 or highest >= size:
            value = lowest if lowest < 0 else highest
            raise ValueError(
                f"index {value} lies outside codebook {codebook}, expected 0 to {size - 1}"
            )


class _DenseCounter:
    """Counts in an array with one entry a code."""

    def __init__(self, size: int) -> None:
        self._counts = torch.zeros(size, dtype=torch.int64)

    def add(self, tokens: Int[Tensor, " n"]) -> None:
        self._counts += torch.bincount(tokens, minlength=len(self._counts))

    def counts(self) -> Int[Tensor, " u"]:
        """How often each used code occurred."""
        return self._counts[self._counts > 0]


class _SparseCounter:
    """Counts in a sorted list of the codes seen; new tokens wait until merging is worth a sort."""

    def __init__(self) -> None:
        self._codes = torch.empty(0, dtype=torch.int64)
        self._counts = torch.empty(0, dtype=torch.int64)
        self._waiting: list[Tensor] = []
        self._waiting_tokens = 0

    def add(self, tokens: Int[Tensor, " n"]) -> None:
        self._waiting.append(tokens.clone())  # the caller may write into its tensor again
        self._waiting_tokens += tokens.numel()
        if self._waiting_tokens >= max(_MERGE_AT_LEAST, self._codes.numel()):
            self._merge()

    def counts(self) -> Int[Tensor, " u"]:
        """How often each used code occurred."""
        self._merge()
        return self._counts

    def _merge(self) -> None:
        waiting = torch.cat(self._waiting) if self._waiting else self._codes.new_empty(0)
        weights = torch.cat([self._counts, torch.ones_like(waiting)])
        self._codes, position = torch.cat([self._codes, waiting]).unique(return_inverse=True)
        self._counts = torch.zeros_like(self._codes).index_add_(0, position, weights)
        self._waiting, self._waiting_tokens = [], 0


def _entropy_bits(counts: Int[Tensor, " u"]) -> float:
    """Plug-in entropy from counts above zero, in float64."""
    p = counts.double() / counts.sum()
    return max(0.0, -(p * p.log2()).sum().item())  # one code alone would give -0.0
