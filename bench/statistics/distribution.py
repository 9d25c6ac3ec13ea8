"""Distances between two feature sets, on all images and with one group of images left out.

Row i of both sets belongs to image i: an original and its reconstruction. Test image i belongs to
group i mod 20 for every method, so the groups of two methods can be compared.

- Frechet distance (Heusel et al. 2017, https://arxiv.org/abs/1706.08500, equation 6):
  |mu_a - mu_b|^2 + tr C_a + tr C_b - 2 tr (C_a C_b)^(1/2). With centred features A and B the last
  trace is the nuclear norm of A B^T / (n - 1), since the eigenvalues of C_a C_b are the squares of
  the singular values of that matrix. This avoids the square root of a singular matrix.
- Kernel distance (Binkowski et al. 2018, https://arxiv.org/abs/1801.01401), with its kernel
  k(x, y) = (x.y / d + 1)^3. The published estimator assumes independent sets. Here the sets are
  paired, so the terms k(x_i, y_i) are left out too:
  [sum over i != j of k(x_i, x_j) + k(y_i, y_j) - 2 k(x_i, y_j)] / (n (n - 1)), which is unbiased.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

GROUPS = 20
_ROWS = 1024  # of a kernel matrix in memory at a time

Array = NDArray[np.float64]


def group_of(images: int) -> NDArray[np.intp]:
    """The group of each test image, by its index only; with fewer images there are fewer groups."""
    return np.arange(images) % min(GROUPS, images)


def frechet_distance(first: Array, second: Array) -> float:
    """Frechet distance between Gaussians fitted to two sets of features (n, d) and (m, d).

    Raises:
        ValueError: wrong shapes, or fewer than two rows.
    """
    first, second = _checked(first, second)
    mean = first.mean(axis=0) - second.mean(axis=0)
    a, b = _scaled_factor(first), _scaled_factor(second)
    traces = np.square(a).sum() + np.square(b).sum()
    nuclear = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return max(
        float(mean @ mean + traces - 2 * nuclear), 0.0
    )  # a negative value is rounding; NaN stays


def kernel_distance(first: Array, second: Array) -> float:
    """Squared kernel distance (KID) of paired features (n, d), without pairs of one image.

    It may be negative, like any unbiased estimate of a value near zero.

    Raises:
        ValueError: unequal shapes, or fewer than two rows.
    """
    sums = _kernel_group_sums(first, second, np.zeros(len(first), dtype=np.intp))
    return float(sums[0, 0]) / (len(first) * (len(first) - 1))


def leave_group_out(
    first: Array, second: Array, distance: Callable[[Array, Array], float]
) -> Array:
    """A distance of paired features (n, d), n >= 3, with each group left out in turn."""
    groups = _group_of_at_least_three(len(first))
    kept = [groups != group for group in range(groups.max() + 1)]
    return np.array([distance(first[rows], second[rows]) for rows in kept])


def leave_group_out_frechet(first: Array, second: Array) -> Array:
    """The Frechet distance with each group left out in turn."""
    return leave_group_out(first, second, frechet_distance)


def leave_group_out_kernel(first: Array, second: Array) -> Array:
    """The kernel distance with each group left out in turn, from one pass over all pairs."""
    groups = _group_of_at_least_three(len(first))
    sums = _kernel_group_sums(first, second, groups)
    kept = len(first) - np.bincount(groups)
    total = sums.sum() - sums.sum(axis=0) - sums.sum(axis=1) + np.diag(sums)
    return total / (kept * (kept - 1))


def leave_group_out_mean(values: Array) -> Array:
    """The mean of per-image values (n,) with each group left out in turn."""
    groups = _group_of_at_least_three(len(values))
    sums, sizes = np.bincount(groups, weights=values), np.bincount(groups)
    return (np.sum(values) - sums) / (len(values) - sizes)


def _checked(first: Array, second: Array) -> tuple[Array, Array]:
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(
            f"expected features of shapes (n, d) and (m, d), got {first.shape} and {second.shape}"
        )
    if min(len(first), len(second)) < 2:
        raise ValueError(
            f"expected at least 2 rows in each set, got {len(first)} and {len(second)}"
        )
    return first.astype(np.float64), second.astype(np.float64)


def _scaled_factor(features: Array) -> Array:
    """F such that F^T F is the covariance; QR leaves at most one row per feature."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    if len(centred) > centred.shape[1]:
        return np.asarray(np.linalg.qr(centred, mode="r"))
    return np.asarray(centred)


def _kernel_group_sums(first: Array, second: Array, groups: NDArray[np.intp]) -> Array:
    """The sum in the module's docstring, by the groups that images i and j belong to."""
    if first.shape != second.shape:
        raise ValueError(f"paired features have one shape, got {first.shape} and {second.shape}")
    first, second = _checked(first, second)
    member = np.eye(groups.max() + 1)[groups]  # (n, groups)
    sums = np.zeros((member.shape[1], member.shape[1]))
    for start in range(0, len(first), _ROWS):
        rows = slice(start, start + _ROWS)
        x, y = first[rows], second[rows]
        terms = _kernel(x, first) + _kernel(y, second) - _kernel(x, second) - _kernel(y, first)
        terms[np.arange(len(x)), start + np.arange(len(x))] = 0  # pairs of an image with itself
        sums += member[rows].T @ terms @ member
    return sums


def _kernel(x: Array, y: Array) -> Array:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _group_of_at_least_three(images: int) -> NDArray[np.intp]:
    if images < 3:
        raise ValueError(f"leaving a group out needs at least 3 images, got {images}")
    return group_of(images)
