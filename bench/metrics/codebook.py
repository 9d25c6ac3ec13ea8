"""Use of the codebooks on an evaluation set: exact counts of indices, streamed batch by batch.

Per codebook of K codes, after N tokens with code frequencies p:

- usage: codes seen at least once / K. Bounded by N: a perfectly uniform code is expected to show
  only 1 - (1 - 1/K)^N of its codes, the ceiling, which is reported beside it.
- entropy: -sum p log2 p bits, the plug-in estimate (biased downward where N is not far above K).
- Miller-Madow entropy: the same with the bias removed to first order.
- perplexity: 2^entropy; K for uniform use, 1 for a single code. 1 <= perplexity <= used codes.

Codebooks are never pooled into one histogram, since that hides the collapse of one of them. Over
several codebooks the tables show the mean usage and the product of perplexities, which is the
perplexity of the joint code if the codebooks were independent, and an upper bound of it if not.
The joint code itself is counted too: its entropy is the rate of coding a position as a whole, and
its distinct codes compare with what as many uniform positions would show. Both are comparable
between one large codebook, groups, residual levels and single bits.
"""

import math
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor


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
    def miller_madow_entropy_bits(self) -> float:
        """Entropy without its first-order bias, in bits per token; at most log2 K."""
        corrected = self.entropy_bits + _miller_madow_bits(self.used_codes, self.tokens)
        return min(corrected, math.log2(self.codebook_size))

    @property
    def perplexity(self) -> float:
        """2^entropy, the effective number of codes."""
        return 2.0**self.entropy_bits


@dataclass(frozen=True, kw_only=True)
class JointUse:
    """How the codes of all codebooks were used together.

    Attributes:
        capacity_bits: log2 of the number of joint codes V, the product of the codebook sizes.
        tokens: positions seen, N.
        used_codes: distinct joint codes seen.
        entropy_bits: plug-in entropy of the joint code, in bits per position.
    """

    capacity_bits: float
    tokens: int
    used_codes: int
    entropy_bits: float

    @property
    def miller_madow_entropy_bits(self) -> float:
        """Entropy without its first-order bias, in bits per position; at most log2 V.

        Only a part of the bias, and so still too low, where N is not far above the codes in use.
        """
        corrected = self.entropy_bits + _miller_madow_bits(self.used_codes, self.tokens)
        return min(corrected, self.capacity_bits)


@dataclass(frozen=True, kw_only=True)
class CodebookReport:
    """How all codebooks were used; without any (a continuous latent) every aggregate is None.

    Attributes:
        codebooks: each codebook alone.
        joint: all of them together; None without any.
    """

    codebooks: tuple[CodebookUse, ...]
    joint: JointUse | None

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
    def miller_madow_entropy_bits(self) -> float | None:
        """Sum of the Miller-Madow entropies in bits per position."""
        if not self.codebooks:
            return None
        return math.fsum(codebook.miller_madow_entropy_bits for codebook in self.codebooks)

    @property
    def joint_entropy_bits(self) -> float | None:
        """Plug-in entropy of the joint code in bits per position; at most `entropy_bits`."""
        return self.joint.entropy_bits if self.joint else None

    @property
    def perplexity(self) -> float | None:
        """Product of the perplexities, 2^(sum of entropies); infinite from 1024 bits on."""
        bits = self.entropy_bits
        if bits is None:
            return None
        return 2.0**bits if bits < 1024 else math.inf

    @staticmethod
    def _mean(values: list[float]) -> float | None:
        return math.fsum(values) / len(values) if values else None


def entropy_bits(counts: Int[Tensor, " u"]) -> float:
    """Plug-in entropy in bits, -sum p log2 p, from counts above zero; biased downward."""
    p = counts.double() / counts.sum()
    return max(0.0, -(p * p.log2()).sum().item())  # one code alone would give -0.0


def _miller_madow_bits(used_codes: int, tokens: int) -> float:
    return (used_codes - 1) / (2 * tokens * math.log(2))
