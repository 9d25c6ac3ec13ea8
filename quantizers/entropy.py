"""Exact entropies of binary codes, without enumerating the 2^K codes for every token.

A soft assignment over the vertices of a cube factorises into K independent bits. So the entropy
of one token's assignment is the sum of its bit entropies, and the distribution of a whole batch
over all codes is one matrix product of two half-codebooks: `A^T B / n`, where a row of `A` holds a
token's probabilities over the first half of the bits and a row of `B` over the rest. Memory is
O(n 2^(K/2) + 2^K) instead of O(n 2^K), and the time is that of one matrix product. No probability
is clamped. Codes of an explicit codebook have no such structure; theirs take one logit a code.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

MAX_ENTROPY_BITS = 24  # 64 MB for one float32 distribution over 2^24 codes


def bit_entropies(
    logits: Float[Tensor, "n k"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Entropies, in nats, of the soft codes with P(bit is set) = sigmoid(logit).

    Returns:
        The mean entropy of a single token's code, and the entropy of the batch's mean code
        distribution over all 2^k codes. Both lie in [0, k ln 2], the second is never smaller.
    """
    p, q = logits.sigmoid(), (-logits).sigmoid()  # 1 - p would lose the small ones
    surprise = p * F.softplus(-logits) + q * F.softplus(logits)
    per_token = surprise.sum(dim=1).mean()
    half = logits.shape[1] // 2
    bits = torch.stack([q, p], dim=-1)
    mean_distribution = _product_codes(bits[:, :half]).T @ _product_codes(bits[:, half:])
    return per_token, _entropy(mean_distribution / logits.shape[0])


def code_entropies(
    logits: Float[Tensor, "n v"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Entropies, in nats, of the soft codes with P(code) = softmax(logits) over v explicit codes.

    Returns:
        The mean entropy of a single token's code, and the entropy of the batch's mean code
        distribution. Both lie in [0, ln v], the second is never smaller.
    """
    log_p = logits.log_softmax(dim=1)
    p = log_p.exp()
    return -(p * log_p).sum(dim=1).mean(), _entropy(p.mean(dim=0))


def _product_codes(bits: Float[Tensor, "n k 2"]) -> Float[Tensor, "n v"]:
    """Probabilities of all v = 2^k combinations of independent bits, first bit slowest."""
    codes = bits.new_ones(bits.shape[0], 1)  # len() would fix the size when traced
    for bit in bits.unbind(dim=1):
        codes = (codes[:, :, None] * bit[:, None, :]).flatten(1)
    return codes


def _entropy(probabilities: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """-sum p ln p; a p that underflowed to zero adds nothing and gets no gradient."""
    positive = probabilities > 0
    log = torch.where(positive, probabilities, 1).log()
    return -(probabilities * log).sum()
