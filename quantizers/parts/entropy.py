"""Exact entropies of product codes, without enumerating all codes for every token.

A soft assignment over a grid (the vertices of a cube, the levels of FSQ) factorises into
independent channels. So the entropy of one token's assignment is the sum of its channels'
entropies, and the distribution of a whole batch over all V codes is one matrix product of two
half-codebooks: `A^T B / n`, where a row of `A` holds a token's probabilities over all combinations
of the first channels and a row of `B` over those of the rest. Where no channel has more than
sqrt(V) levels, a token takes O(sqrt(V)) numbers instead of V, and the time is that of one matrix
product. Tokens come in slices (`by_slices`), so memory is O(n + V). No probability is clamped.
Codes of an explicit codebook have no such structure; theirs take one logit a code, and `code_sums`
is for a slice of them.

With `all_processes=True` in a distributed run, tokens are those of all processes, however many each
has, and the gradients are those that `sum_over_processes` explains.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from quantizers.parts.processes import mean_over_tokens
from quantizers.parts.soft_codes import Results, by_slices

MAX_ENTROPY_BITS = 24  # 64 MB for one float32 distribution over 2^24 codes


def bit_entropies(
    logits: Float[Tensor, "n k"], *, all_processes: bool = False
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Entropies, in nats, of the soft codes with P(bit is set) = sigmoid(logit).

    Returns:
        The mean entropy of a single token's code, and the entropy of the batch's mean code
        distribution over all 2^k codes. Both lie in [0, k ln 2], the second is never smaller.
        Of no token at all, both are 0.
    """
    _, sums = by_slices(_bit_sums, logits, codes=_numbers_of_halves([2] * logits.shape[1]))
    tokens = logits.shape[0]  # len() would fix it when traced
    return entropies_of_sums(*sums, tokens=tokens, all_processes=all_processes)


def level_entropies(
    logits: Sequence[Float[Tensor, "n _"]], *, all_processes: bool = False
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Entropies, in nats, of soft codes on a grid: P(level) = softmax(logits) in each channel.

    Args:
        logits: of each channel, one column for each of its levels.
        all_processes: whether the batch is that of all processes.

    Returns:
        The mean entropy of a single token's code, and the entropy of the batch's mean code
        distribution over the product of all levels, the second never smaller. Of no token at all,
        both are 0.
    """
    sizes = [channel.shape[1] for channel in logits]
    joined = torch.cat(list(logits), dim=1)

    def sums_of(some: Tensor) -> Results:
        return _level_sums(some.split(sizes, dim=1))

    _, sums = by_slices(sums_of, joined, codes=_numbers_of_halves(sizes))
    return entropies_of_sums(*sums, tokens=joined.shape[0], all_processes=all_processes)


def code_entropies(
    logits: Float[Tensor, "n v"], *, all_processes: bool = False
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Entropies, in nats, of the soft codes with P(code) = softmax(logits) over v explicit codes.

    Returns:
        The mean entropy of a single token's code, and the entropy of the batch's mean code
        distribution. Both lie in [0, ln v], the second is never smaller. Of no token at all, both
        are 0.
    """
    return entropies_of_sums(
        *code_sums(logits), tokens=logits.shape[0], all_processes=all_processes
    )


def code_sums(
    logits: Float[Tensor, "n v"],
) -> tuple[Float[Tensor, ""], Float[Tensor, " v"]]:
    """Sums over tokens of P(code) = softmax(logits): of entropies in nats, and of distributions."""
    surprise, codes = _CodeSums.apply(logits)
    return surprise, codes


class _CodeSums(torch.autograd.Function):
    """`code_sums` with each number of soft codes read and written as seldom as can be.

    With a = usage - surprise ln p, for the gradients of both sums, that of a logit is p (a - sum p
    a). `exp` of ln p would be p as well: MKL takes 30 times as long for what underflows.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> tuple[Tensor, Tensor]:
        p, log_p = logits.softmax(dim=1), logits.log_softmax(dim=1)
        ctx.save_for_backward(p, log_p)
        return -_dot(p, log_p), p.sum(dim=0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, surprise: Tensor, usage: Tensor) -> Tensor:
        p, log_p = ctx.saved_tensors
        scores = torch.addcmul(usage, log_p, surprise, value=-1).mul_(p)
        return scores.addcmul_(p, scores.sum(dim=1, keepdim=True), value=-1)


def entropies_of_sums(
    surprise: Float[Tensor, ""],
    sum_of_codes: Float[Tensor, "*codes"],
    *,
    tokens: int,
    all_processes: bool,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Mean entropy of a token and entropy of the batch, from sums over tokens as in `code_sums`."""
    mean_code = mean_over_tokens(sum_of_codes, tokens, all_processes=all_processes)
    return mean_over_tokens(surprise, tokens, all_processes=all_processes), _entropy(mean_code)


def _bit_sums(logits: Float[Tensor, "n k"]) -> Results:
    """No rows; sums over tokens of their entropies, and of their distributions over all codes."""
    p, q = logits.sigmoid(), (-logits).sigmoid()  # 1 - p would lose the small ones
    surprise = p * F.softplus(-logits) + q * F.softplus(logits)
    bits = torch.stack([q, p], dim=-1).unbind(dim=1)
    return (), (surprise.sum(), _sum_of_product_codes(bits))


def _level_sums(logits: Sequence[Float[Tensor, "n _"]]) -> Results:
    """As `_bit_sums`, for any number of levels a channel."""
    log_p = [channel.log_softmax(dim=1) for channel in logits]
    p = [channel.exp() for channel in log_p]
    surprise = -torch.stack([_dot(*pair) for pair in zip(p, log_p, strict=True)]).sum()
    return (), (surprise, _sum_of_product_codes(p))


def _cut(sizes: Sequence[int]) -> int:
    """How many channels go in the first half-codebook, so that the larger half is smallest."""
    larger = [max(math.prod(sizes[:cut]), math.prod(sizes[cut:])) for cut, _ in enumerate(sizes)]
    return larger.index(min(larger))


def _numbers_of_halves(sizes: Sequence[int]) -> int:
    """Probabilities of all codes of both half-codebooks."""
    cut = _cut(sizes)
    return math.prod(sizes[:cut]) + math.prod(sizes[cut:])


def _sum_of_product_codes(channels: Sequence[Float[Tensor, "n _"]]) -> Float[Tensor, "v w"]:
    """Sum over tokens of the probabilities of all codes, from those of each channel's levels."""
    cut = _cut([channel.shape[1] for channel in channels])
    one = channels[0].new_ones(channels[0].shape[0], 1)
    return _product_codes(one, channels[:cut]).T @ _product_codes(one, channels[cut:])


def _product_codes(
    codes: Float[Tensor, "n w"], channels: Sequence[Float[Tensor, "n _"]]
) -> Float[Tensor, "n v"]:
    """Probabilities of all combinations of `codes` and independent levels, the last fastest."""
    for channel in channels:
        codes = (codes[:, :, None] * channel[:, None, :]).flatten(1)
    return codes


def _entropy(probabilities: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """-sum p ln p; a p that underflowed to zero adds nothing and gets no gradient."""
    positive = probabilities > 0
    log = torch.where(positive, probabilities, 1).log()
    return -(probabilities * log).sum()


def _dot(a: Float[Tensor, "n v"], b: Float[Tensor, "n v"]) -> Float[Tensor, ""]:
    return (a * b).sum()
