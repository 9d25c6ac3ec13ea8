"""Kernel distance of paired features in square blocks, for sets of any size, on any device.

The estimator of `bench.statistics.kernel_distance` (Binkowski et al. 2018,
https://arxiv.org/abs/1801.01401, without the terms that pair an image with itself or with its own
reconstruction), and its values up to the order of summation. The summand of the images i and j,
k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(y_i, x_j), is the same for j and i, so half of the pairs
are enough. Memory is that of a few blocks, while bands of rows grow with the number of images.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bench.statistics import group_of

_ROWS = 512  # of a block: 2 MB in float64


@dataclass(frozen=True)
class KernelSums:
    """Sums of the summand over all pairs of two images, by the groups that these belong to.

    Attributes:
        between: symmetric (g, g), float64; image i belongs to group i mod g.
        images: how many there are.
    """

    between: Float[Tensor, "g g"]
    images: int

    def distance(self) -> float:
        """Squared kernel distance of the whole sets; may be below zero."""
        return float(self.between.sum()) / (self.images * (self.images - 1))

    def leave_group_out(self) -> list[float]:
        """The distance without each group in turn.

        Raises:
            ValueError: fewer than 3 images.
        """
        if self.images < 3:
            raise ValueError(f"leaving a group out needs at least 3 images, got {self.images}")
        kept = self.images - torch.from_numpy(group_of(self.images)).bincount()
        sums = self.between
        total = sums.sum() - sums.sum(dim=0) - sums.sum(dim=1) + sums.diagonal()
        return (total / (kept * (kept - 1))).tolist()


def kernel_sums(
    first: Float[Tensor, "n d"], second: Float[Tensor, "n d"], *, device: torch.device | str = "cpu"
) -> KernelSums:
    """Compares all images of two paired sets with each other, in float64.

    Args:
        first: features of the originals.
        second: of their reconstructions, in the same order.
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
    between = torch.zeros(member.shape[1], member.shape[1], dtype=torch.float64, device=device)
    for start in blocks:
        rows = slice(start, start + _ROWS)
        x, y = _block(first, rows, device), _block(second, rows, device)
        for other in blocks[start // _ROWS :]:
            columns = slice(other, other + _ROWS)
            terms = _terms(x, y, _block(first, columns, device), _block(second, columns, device))
            if other == start:
                terms.fill_diagonal_(0)  # an image with itself
            part = member[rows].T @ terms @ member[columns]
            between += part if other == start else part + part.T
    return KernelSums(between.cpu(), len(first))


def _block(features: Float[Tensor, "n d"], rows: slice, device: torch.device | str) -> Tensor:
    return features[rows].to(device=device, dtype=torch.float64)


def _terms(
    x: Float[Tensor, "a d"],
    y: Float[Tensor, "a d"],
    u: Float[Tensor, "b d"],
    v: Float[Tensor, "b d"],
) -> Float[Tensor, "a b"]:
    """The summand for each of a images with each of b; x and u are originals."""
    return _kernel(x, u).add_(_kernel(y, v)).sub_(_kernel(x, v)).sub_(_kernel(y, u))


def _kernel(x: Float[Tensor, "a d"], y: Float[Tensor, "b d"]) -> Float[Tensor, "a b"]:
    return torch.addmm(x.new_ones(()), x, y.T, alpha=1 / x.shape[1]).pow_(3)
