"""The exact search of many latents among many codes with 2 to 6 channels, in a tree of boxes.

Bentley, "Multidimensional Binary Search Trees Used for Associative Searching", Communications of
the ACM 18 (9), 1975: codes are split at the median of their widest coordinate until few are left.
A latent visits the nearer half first. It visits the other half only if that box is not further away
than the nearest code so far. So it meets few of the codes, however many there are.

Distances and gaps are float64 sums in the same order of channels. Rounding is monotone, so no gap
exceeds the distance to a code in its box. If another order of summation could swap two distances,
the latent is not certain, as in `loops`. Two channels have only one order, so there the lowest
index of the nearest codes is found. If most codes are about as near as the nearest, no box can be
skipped: a latent that visits many leaves is not certain either.
"""

from typing import NamedTuple, no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numba import prange
from torch import Tensor

from quantizers.nearest.rounding import distance_slack
from quantizers.nearest.threads_numba import compiled, compiled_in_parallel, run

_LEAF = 16  # codes
_SHARE = 1024  # latents that a thread takes at a time
_MAX_DEPTH = 64  # levels
_MAX_VISITS = 32  # leaves per latent, plus 1/32 of all leaves; beyond that the loops are faster


class _Nodes(NamedTuple):
    """The tree: node i has the children 2 i + 1 and 2 i + 2; leaves are last.

    Attributes:
        low, high: (nodes, d), box of the codes in a node; inside out for a node without codes.
        codes: (leaves * 16, d), in the order of the leaves, filled up with infinity.
        order: (leaves * 16,), indices of the codes.
        near: codes up to this factor times the least distance may be as near.
    """

    low: np.ndarray
    high: np.ndarray
    codes: np.ndarray
    order: np.ndarray
    near: float


class Tree:
    """Codes that are prepared as a tree."""

    def __init__(self, codes: Float[Tensor, "v d"]) -> None:
        channels = codes.shape[1]
        codes, order = _halved(codes)
        leaves = codes.view(-1, _LEAF, channels)
        low = [leaves.amin(dim=1)]
        high = [leaves.masked_fill(leaves.isinf(), -torch.inf).amax(dim=1)]
        while len(low[-1]) > 1:
            low.append(low[-1].view(-1, 2, channels).amin(dim=1))
            high.append(high[-1].view(-1, 2, channels).amax(dim=1))
        self.channels = (0,) * channels  # Numba compiles for the length of a tuple
        self.nodes = _Nodes(
            low=torch.cat(low[::-1]).numpy(),
            high=torch.cat(high[::-1]).numpy(),
            codes=codes.numpy(),
            order=order.numpy(),
            near=1.0 if channels == 2 else 1 + 4 * distance_slack(channels),
        )

    def search(self, latents: Float[Tensor, "n d"]) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
        """Index of the nearest code for each latent, and whether it is certain."""
        index = torch.empty(len(latents), dtype=torch.int64)
        certain = torch.empty(len(latents), dtype=torch.bool)
        rows = latents.contiguous().numpy()
        arguments = self.channels, self.nodes, rows, index.numpy(), certain.numpy()
        run(_search_share, _search_in_parallel, arguments)
        return index, certain


def _halved(codes: Float[Tensor, "v d"]) -> tuple[Float[Tensor, "w d"], Int[Tensor, " w"]]:
    """Codes in the order of 2^k leaves, filled up with infinity; and their indices."""
    size, channels = codes.shape
    halvings = max(0, -(-size // _LEAF) - 1).bit_length()
    missing = (_LEAF << halvings) - size
    codes = torch.cat([codes, codes.new_full((missing, channels), torch.inf)])
    order = torch.arange(len(codes))
    for halving in range(halvings):
        nodes = codes.view(1 << halving, -1, channels)
        high = nodes.masked_fill(nodes.isinf(), -torch.inf).amax(dim=1)
        widest = (high - nodes.amin(dim=1)).argmax(dim=1)
        keys = nodes.gather(2, widest[:, None, None].expand(-1, nodes.shape[1], 1)).squeeze(2)
        by_key = keys.argsort(dim=1)
        codes = nodes.gather(1, by_key.unsqueeze(2).expand(nodes.shape)).view(codes.shape)
        order = order.view(by_key.shape).gather(1, by_key).flatten()
    return codes, order


@compiled
@no_type_check
def _search_share(channels, nodes, latents, index, certain):
    waiting, gaps = np.empty(_MAX_DEPTH, np.int64), np.empty(_MAX_DEPTH)
    for row in range(len(latents)):
        index[row], certain[row] = _search_tree(channels, nodes, latents[row], waiting, gaps)


@compiled_in_parallel
@no_type_check
def _search_in_parallel(channels, nodes, latents, index, certain):
    for share in prange((len(latents) + _SHARE - 1) // _SHARE):
        first = share * _SHARE
        part = latents[first : first + _SHARE]
        _search_share(channels, nodes, part, index[first:], certain[first:])


@compiled
@no_type_check
def _search_tree(channels, nodes, latent, waiting, gaps):
    """The nearest code, and whether every order of summation finds it."""
    leaves = (len(nodes.low) + 1) // 2
    least, second, nearest = np.inf, np.inf, 0
    visits_left = _MAX_VISITS + leaves // 32
    waiting[0], gaps[0], count = 0, 0.0, 1
    while count and visits_left:
        count -= 1
        node, gap = waiting[count], gaps[count]
        while gap <= least * nodes.near and node < leaves - 1:
            nearer, further = 2 * node + 1, 2 * node + 2
            gap = _gap(channels, nodes, nearer, latent)
            other = _gap(channels, nodes, further, latent)
            if other < gap:
                nearer, further, gap, other = further, nearer, other, gap
            if other <= least * nodes.near:
                waiting[count], gaps[count] = further, other
                count += 1
            node = nearer
        if gap > least * nodes.near:
            continue
        visits_left -= 1
        first = (node - leaves + 1) * _LEAF
        for code in range(first, first + _LEAF):
            distance = 0.0
            for channel in range(len(channels)):
                difference = np.float64(nodes.codes[code, channel]) - np.float64(latent[channel])
                distance += difference * difference
            second = min(second, max(least, distance))
            if distance < least or (distance == least and nodes.order[code] < nearest):
                least, nearest = distance, nodes.order[code]
    certain = len(channels) == 2 or second > least * nodes.near
    return nearest, certain and visits_left > 0


@compiled
@no_type_check
def _gap(channels, nodes, node, latent):
    """Squared distance from a latent to the box of a node."""
    square = 0.0
    for channel in range(len(channels)):
        x = np.float64(latent[channel])
        below = np.float64(nodes.low[node, channel]) - x
        above = x - np.float64(nodes.high[node, channel])
        gap = max(max(below, above), 0.0)
        square += gap * gap
    return square
