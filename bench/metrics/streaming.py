"""Mean and covariance of features that come in batches, and the Frechet distance between two sets.

Neither images nor features are kept: a set of any size takes one d x d matrix. Batches are merged
in float64 by the pairwise update of Chan, Golub and LeVeque, "Updating formulae and a pairwise
algorithm for computing sample variances", COMPSTAT 1982, written for matrices. It never subtracts
large sums of squares.

The distance is equation 6 of Heusel et al. 2017, https://arxiv.org/abs/1706.08500. The trace of
(C_a C_b)^(1/2) is the nuclear norm of F_a F_b^T, where C = F^T F, as in `bench.statistics`. Here F
comes from the eigenvectors of the covariance. Eigenvalues that are 0 up to rounding are dropped,
because their square roots are much larger than rounding.
"""

import torch
from jaxtyping import Float
from torch import Tensor


class StreamingMoments:
    """Count, mean and covariance of features, batch by batch.

    Args:
        dimension: d, features per image.
    """

    def __init__(self, dimension: int) -> None:
        self.count = 0
        self.mean = torch.zeros(dimension, dtype=torch.float64)
        self._scatter = torch.zeros(dimension, dimension, dtype=torch.float64)

    def add(self, features: Float[Tensor, "n d"]) -> None:
        """Adds a batch of any size and float type.

        Raises:
            ValueError: another dimension, or a NaN or infinite value.
        """
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise ValueError(
                f"expected features of shape (n, {len(self.mean)}), got {tuple(features.shape)}"
            )
        if not features.isfinite().all():
            raise ValueError("features hold NaN or infinite values, which have no covariance")
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
        """Unbiased covariance, float64.

        Raises:
            ValueError: fewer than 2 features were added.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 images, got {self.count}")
        return self._scatter / (self.count - 1)


def moments_frechet_distance(first: StreamingMoments, second: StreamingMoments) -> float:
    """Frechet distance between two streamed sets: 0 for equal sets, lower is better.

    Raises:
        ValueError: unequal dimensions, or fewer than 2 features in a set.
    """
    if len(first.mean) != len(second.mean):
        raise ValueError(
            f"features must have one dimension, got {len(first.mean)} and {len(second.mean)}"
        )
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
