"""Frechet distance extrapolated to infinitely many images.

Chong and Forsyth, "Effectively Unbiased FID and Inception Score and where to find them", CVPR 2020,
https://arxiv.org/abs/1911.07023. The bias of the distance is about linear in 1 / images. So a line
in 1 / images is fitted to the distances of subsets of several sizes, and its value at 0 is the
estimate. The 15 sizes are equally spaced, as in the authors' code.

Deviations: the sets are paired, so a subset takes the same rows of both; the authors subsample only
the generated images. Subsets are nested (the first rows of one seeded permutation), so that each
feature is read once. The smallest subset is a quarter of the images, the largest all of them. A
quarter must be at least the dimension: otherwise covariances are singular, and the bias is not
linear.

The distance is equation 6 of Heusel et al. 2017, https://arxiv.org/abs/1706.08500. The trace of
(C_a C_b)^(1/2) is the nuclear norm of F_a F_b^T, where C = F^T F, as in `bench.statistics`. Here F
comes from the eigenvectors of the covariance. Eigenvalues that are 0 up to rounding are dropped,
because their square roots are much larger than rounding.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_SIZES = 15
_SMALLEST_PART = 4  # the smallest subset is a quarter of the images


class StreamingMoments:
    """Count, mean and covariance of features, batch by batch, in one d x d matrix of float64.

    Batches are merged by the pairwise update of Chan, Golub and LeVeque, "Updating formulae and a
    pairwise algorithm for computing sample variances", COMPSTAT 1982, written for matrices. It
    never subtracts large sums of squares.
    """

    def __init__(self, dimension: int) -> None:
        self.count = 0
        self.mean = torch.zeros(dimension, dtype=torch.float64)
        self._scatter = torch.zeros(dimension, dimension, dtype=torch.float64)

    def add(self, features: Float[Tensor, "n d"]) -> None:
        """Adds a batch of any size and float type."""
        if len(features) == 0:
            return
        features = features.double().cpu()
        mean = features.mean(dim=0)
        centred = features - mean
        total = self.count + len(features)
        shift = mean - self.mean
        self._scatter.addmm_(centred.T, centred)
        self._scatter.addr_(shift, shift, alpha=self.count * len(features) / total)
        self.mean = self.mean + shift * (len(features) / total)
        self.count = total

    def covariance(self) -> Float[Tensor, "d d"]:
        """Unbiased covariance.

        Raises:
            ValueError: fewer than 2 features were added.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 images, got {self.count}")
        return self._scatter / (self.count - 1)


def frechet_distance_at_infinity(
    reference: Float[Tensor, "n d"], reconstruction: Float[Tensor, "n d"], *, seed: int = 0
) -> float:
    """The estimate for infinitely many images; its error may push it below 0.

    Args:
        reference: features of the originals.
        reconstruction: features of the reconstructions, in the same order.
        seed: of the permutation.

    Raises:
        ValueError: unequal shapes, fewer than 4 d images, or a NaN or infinite value.
    """
    images, dimension = reference.shape
    if images < _SMALLEST_PART * dimension:
        raise ValueError(
            f"FD at infinity needs at least {_SMALLEST_PART * dimension} images for {dimension} "
            f"features, {_SMALLEST_PART} times as many, got {images}"
        )
    if reference.shape != reconstruction.shape:
        raise ValueError(
            "paired features have one shape, "
            f"got {tuple(reference.shape)} and {tuple(reconstruction.shape)}"
        )
    if not (reference.isfinite().all() and reconstruction.isfinite().all()):
        raise ValueError("features hold NaN or infinite values, which have no covariance")
    order = torch.randperm(images, generator=torch.Generator().manual_seed(seed))
    sizes = np.linspace(images // _SMALLEST_PART, images, _SIZES).round().astype(int)
    first, second = StreamingMoments(dimension), StreamingMoments(dimension)
    distances = []
    for start, stop in zip([0, *sizes[:-1]], sizes, strict=True):
        rows = order[start:stop]
        first.add(reference[rows])
        second.add(reconstruction[rows])
        distances.append(moments_frechet_distance(first, second))
    return float(np.polyfit(1 / sizes, distances, deg=1)[1])


def moments_frechet_distance(first: StreamingMoments, second: StreamingMoments) -> float:
    """Frechet distance of two sets with at least 2 features each: 0 for equal sets."""
    covariances = first.covariance(), second.covariance()
    shift = first.mean - second.mean
    traces = sum(float(covariance.trace()) for covariance in covariances)
    a, b = (_factor(covariance) for covariance in covariances)
    nuclear = float(torch.linalg.svdvals(a @ b.T).sum())
    return max(float(shift @ shift) + traces - 2 * nuclear, 0.0)  # below 0 is rounding


def _factor(covariance: Float[Tensor, "d d"]) -> Float[Tensor, "r d"]:
    """F of full rank with F^T F the covariance."""
    values, vectors = torch.linalg.eigh(covariance)
    rounding = len(values) * torch.finfo(torch.float64).eps * values[-1].clamp(min=0)
    positive = values > rounding
    return values[positive].sqrt().unsqueeze(1) * vectors[:, positive].T
