"""How the codebooks were used on an evaluation set, from exact counts of the indices.

For a codebook of K codes, after N tokens with code frequencies p:

- usage: codes seen at least once / K. It depends on N: even uniform use shows only
  1 - (1 - 1/K)^N of the codes on average. This ceiling is reported beside the usage.
- entropy: -sum p log2 p bits, the plug-in estimate (biased downward unless N is far above K).
- Miller-Madow entropy: the same with the first-order bias removed.
- perplexity: 2^entropy; K for uniform use, 1 for a single code. 1 <= perplexity <= used codes.

Codebooks are never pooled into one histogram, which would hide the collapse of one of them. For
several codebooks, tables show the mean usage and the product of the perplexities. The product is
the perplexity of the joint code if the codebooks are independent, and an upper bound otherwise. The
joint code is counted as well: its entropy is the rate of coding a position as a whole. It compares
one large codebook with groups, residual levels and single bits.
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
        """Expected usage of N uniform tokens: 1 - (1 - 1/K)^N."""
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

        It is still too low unless N is far above the number of used codes.
        """
        corrected = self.entropy_bits + _miller_madow_bits(self.used_codes, self.tokens)
        return min(corrected, self.capacity_bits)


@dataclass(frozen=True, kw_only=True)
class CodebookReport:
    """How all codebooks were used. For a continuous latent, without codebooks, all means are None.

    Attributes:
        codebooks: each codebook by itself.
        joint: all codebooks together; None if there are none.
    """

    codebooks: tuple[CodebookUse, ...]
    joint: JointUse | None

    @property
    def mean_usage(self) -> float | None:
        """Usage averaged over codebooks."""
        return self._mean([codebook.usage for codebook in self.codebooks])

    @property
    def mean_usage_ceiling(self) -> float | None:
        """Usage ceiling averaged over codebooks."""
        return self._mean([codebook.usage_ceiling for codebook in self.codebooks])

    @property
    def entropy_bits(self) -> float | None:
        """Sum of the entropies in bits per position: the rate of coding codebooks separately."""
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
    return max(0.0, -(p * p.log2()).sum().item())  # a single code would give -0.0


def _miller_madow_bits(used_codes: int, tokens: int) -> float:
    return (used_codes - 1) / (2 * tokens * math.log(2))
