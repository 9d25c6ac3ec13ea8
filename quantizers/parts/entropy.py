"""Exact entropies of soft codes, without a probability for each code of each token where possible.

A soft assignment over a grid (the vertices of a cube, the levels of FSQ) factorises into
independent channels. So the entropy of a token's assignment is the sum of its channels' entropies.
The distribution of a whole batch over all V codes is one matrix product of two half-codebooks,
`A^T B / n`: a row of `A` holds a token's probabilities over all combinations of the first channels,
a row of `B` those over the rest. If no channel has more than sqrt(V) levels, a token takes
O(sqrt(V)) numbers instead of V, and the time is that of one matrix product. Tokens come in chunks
(`checkpointed`), so memory is O(n + V). An explicit codebook has no such structure: each token
takes one logit for each code, chunk by chunk. No probability is clamped.

All functions return two entropies in nats: the mean entropy of a single token's soft code, and the
entropy of the batch's mean soft code. The second is never smaller. Without tokens both are 0. With
`all_processes=True` in a distributed run, the batch is that of all processes, however many tokens
each has, and the gradients are those that `sum_over_processes` explains.
"""

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from quantizers.parts.processes import mean_over_tokens
from quantizers.parts.soft_codes import Results, checkpointed

MAX_ENTROPY_BITS = 24  # 64 MB for one float32 distribution over 2^24 codes

Entropies = tuple[Float[Tensor, ""], Float[Tensor, ""]]


def bit_entropies(logits: Float[Tensor, "n k"], *, all_processes: bool = False) -> Entropies:
    """Entropies of soft codes of k bits, P(bit is set) = sigmoid(logit); both in [0, k ln 2]."""
    _, sums = checkpointed(
        _bit_sums, logits, floats_per_row=_half_codebook_sizes([2] * logits.shape[1])
    )
    tokens = logits.shape[0]  # len() would fix it when traced
    return entropies_of_sums(*sums, tokens=tokens, all_processes=all_processes)


def level_entropies(
    logits: Sequence[Float[Tensor, "n _"]], *, all_processes: bool = False
) -> Entropies:
    """Entropies of soft codes on a grid: P(level) = softmax(logits) in each channel.

    Args:
        logits: for each channel, one column for each of its levels.
        all_processes: whether the batch is that of all processes.
    """
    sizes = [channel.shape[1] for channel in logits]
    joined = torch.cat(list(logits), dim=1)

    def level_sums(chunk: Tensor) -> Results:
        return _level_sums(chunk.split(sizes, dim=1))

    _, sums = checkpointed(level_sums, joined, floats_per_row=_half_codebook_sizes(sizes))
    return entropies_of_sums(*sums, tokens=joined.shape[0], all_processes=all_processes)


def soft_code_entropies(
    groups: Float[Tensor, "n k d"],
    codebooks: Float[Tensor, "k v d"],
    *,
    temperature: float,
    all_processes: bool = False,
) -> Entropies:
    """Entropies summed over k groups: P(code) = softmax(-|u - code|^2 / temperature) in each.

    Args:
        groups: the vectors u of each token.
        codebooks: the codes of each group.
        temperature: of the soft codes.
        all_processes: whether the batch is that of all processes.
    """
    tokens, entropies = groups.shape[0], []
    for vectors, codes in zip(groups.unbind(dim=1), codebooks.unbind(), strict=True):
        chunk_sums = partial(_nearness_sums, codes=codes, temperature=temperature)
        _, sums = checkpointed(chunk_sums, vectors, floats_per_row=codes.shape[0])
        entropies.append(entropies_of_sums(*sums, tokens=tokens, all_processes=all_processes))
    return sum_over_groups(entropies)


def sum_over_groups(entropies: Iterable[Entropies]) -> Entropies:
    """Both entropies, summed over groups of channels."""
    token_entropy, batch_entropy = torch.stack(list(map(torch.stack, entropies))).sum(dim=0)
    return token_entropy, batch_entropy


def code_sums(
    logits: Float[Tensor, "n v"],
) -> tuple[Float[Tensor, ""], Float[Tensor, " v"]]:
    """Sums over tokens of the entropy of P(code) = softmax(logits), and of P itself."""
    entropy_sum, code_sum = _CodeSums.apply(logits)
    return entropy_sum, code_sum


class _CodeSums(torch.autograd.Function):
    """`code_sums` with as few passes over the soft codes as possible.

    With a = grad_codes - grad_entropy ln p, the gradient of a logit is p (a - sum p a). p could be
    `exp` of ln p, but MKL takes 30 times as long for values that underflow.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> tuple[Tensor, Tensor]:
        p, log_p = logits.softmax(dim=1), logits.log_softmax(dim=1)
        ctx.save_for_backward(p, log_p)
        return -_dot(p, log_p), p.sum(dim=0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_entropy: Tensor, grad_codes: Tensor) -> Tensor:
        p, log_p = ctx.saved_tensors
        grad = torch.addcmul(grad_codes, log_p, grad_entropy, value=-1).mul_(p)
        return grad.addcmul_(p, grad.sum(dim=1, keepdim=True), value=-1)


def entropies_of_sums(
    entropy_sum: Float[Tensor, ""],
    code_sum: Float[Tensor, "*codes"],
    *,
    tokens: int,
    all_processes: bool,
) -> Entropies:
    """Both entropies, from sums over tokens as `code_sums` returns them."""
    mean_code = mean_over_tokens(code_sum, tokens, all_processes=all_processes)
    return mean_over_tokens(entropy_sum, tokens, all_processes=all_processes), _entropy(mean_code)


def _bit_sums(logits: Float[Tensor, "n k"]) -> Results:
    """No rows; sums over tokens of their entropies and of their distributions over all codes."""
    p, q = logits.sigmoid(), (-logits).sigmoid()  # 1 - p would lose the small ones
    entropies = p * F.softplus(-logits) + q * F.softplus(logits)
    bits = torch.stack([q, p], dim=-1).unbind(dim=1)
    return (), (entropies.sum(), _sum_of_product_codes(bits))


def _level_sums(logits: Sequence[Float[Tensor, "n _"]]) -> Results:
    """Like `_bit_sums`, for any number of levels in each channel."""
    log_p = [channel.log_softmax(dim=1) for channel in logits]
    p = [channel.exp() for channel in log_p]
    entropy_sum = -torch.stack([_dot(*pair) for pair in zip(p, log_p, strict=True)]).sum()
    return (), (entropy_sum, _sum_of_product_codes(p))


def _nearness_sums(
    vectors: Float[Tensor, "n d"], *, codes: Float[Tensor, "v d"], temperature: float
) -> Results:
    """Like `_bit_sums`, for explicit codes."""
    nearness = 2 * vectors @ codes.T - codes.square().sum(dim=1)  # all codes share |u|^2
    return (), code_sums(nearness / temperature)


def _cut(sizes: Sequence[int]) -> int:
    """How many channels go into the first half-codebook; keeps the larger half smallest."""
    larger = [max(math.prod(sizes[:cut]), math.prod(sizes[cut:])) for cut, _ in enumerate(sizes)]
    return larger.index(min(larger))


def _half_codebook_sizes(sizes: Sequence[int]) -> int:
    """Number of codes in both half-codebooks."""
    cut = _cut(sizes)
    return math.prod(sizes[:cut]) + math.prod(sizes[cut:])


def _sum_of_product_codes(channels: Sequence[Float[Tensor, "n _"]]) -> Float[Tensor, "v w"]:
    """Sum over tokens of the probabilities of all codes, from the levels' probabilities."""
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
