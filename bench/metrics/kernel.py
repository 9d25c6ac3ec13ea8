"""Kernel distance of paired features in square blocks, for sets of any size, on any device.

The estimator is that of `bench.statistics.kernel_distance` (Binkowski et al. 2018,
https://arxiv.org/abs/1801.01401, without the terms that pair an image with itself or with its own
reconstruction). Only the order of summation differs. The summand of the images i and j,
k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(y_i, x_j), is symmetric, so half of the pairs suffice.
Memory holds a few blocks; the bands of rows in `bench.statistics` grow with the number of images.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from bench.metrics.distances import Jackknifed
from bench.statistics import group_of

_ROWS = 512  # rows of a block, which takes 2 MB in float64


def kernel_in_blocks(
    first: Float[Tensor, "n d"], second: Float[Tensor, "n d"], *, device: torch.device | str = "cpu"
) -> Jackknifed:
    """Squared kernel distance of two paired sets, in float64; may be below zero.

    Args:
        first: features of the originals.
        second: features of their reconstructions, in the same order.
        device: where it is computed.

    Raises:
        ValueError: unequal shapes, or fewer than 2 images.
    """
    if first.shape != second.shape or len(first) < 2:
        raise ValueError(
            "expected paired features of one shape and at least 2 images, got "
            f"{tuple(first.shape)} and {tuple(second.shape)}"
        )
    groups = torch.from_numpy(group_of(len(first)))
    member = torch.eye(int(groups.max()) + 1, dtype=torch.float64)[groups].to(device)
    blocks = range(0, len(first), _ROWS)
    # sums of the summand over all pairs of images, by their groups
    between = torch.zeros(member.shape[1], member.shape[1], dtype=torch.float64, device=device)
    for start in blocks:
        rows = slice(start, start + _ROWS)
        x, y = _block(first, rows, device), _block(second, rows, device)
        for other in blocks[start // _ROWS :]:
            columns = slice(other, other + _ROWS)
            u, v = _block(first, columns, device), _block(second, columns, device)
            terms = _kernel(x, u).add_(_kernel(y, v)).sub_(_kernel(x, v)).sub_(_kernel(y, u))
            if other == start:
                terms.fill_diagonal_(0)  # an image with itself
            part = member[rows].T @ terms @ member[columns]
            between += part if other == start else part + part.T
    between, images = between.cpu(), len(groups)
    whole = float(between.sum()) / (images * (images - 1))
    if images < 3:
        return Jackknifed(whole, [])
    remaining = images - groups.bincount()
    sums = between.sum() - between.sum(dim=0) - between.sum(dim=1) + between.diagonal()
    return Jackknifed(whole, (sums / (remaining * (remaining - 1))).tolist())


def _block(features: Float[Tensor, "n d"], rows: slice, device: torch.device | str) -> Tensor:
    return features[rows].to(device=device, dtype=torch.float64)


def _kernel(x: Float[Tensor, "a d"], y: Float[Tensor, "b d"]) -> Float[Tensor, "a b"]:
    return torch.addmm(x.new_ones(()), x, y.T, alpha=1 / x.shape[1]).pow_(3)
