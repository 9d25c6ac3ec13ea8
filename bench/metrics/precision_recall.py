"""Improved precision and recall of a set of reconstructions, exact, in blocks of rows.

Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models",
NeurIPS 2019, https://arxiv.org/abs/1904.06991, equations 1 and 2. The manifold of a set is the
union of balls around its features. The radius of a ball is the distance to the k-th nearest other
feature of the same set, k = 3. Precision is the share of reconstructions inside the manifold of the
originals, recall the share of originals inside the manifold of the reconstructions.

Deviation: squared distances come from one matrix product of centred features in float64, and a
feature that is inside up to rounding counts as inside. Otherwise rounding would decide about equal
features, where the radius is 0. The paper uses VGG16. Other features work too, but values from
different features or from unequal numbers of images are not comparable.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from bench.metrics.distances import jackknifed

NEIGHBOURS = 3  # k
_ROUNDING = 1e-12  # of a squared distance, relative to the squared norms


def precision(
    reference: Float[Tensor, "n d"],
    reconstruction: Float[Tensor, "m d"],
    *,
    neighbours: int = NEIGHBOURS,
    rows: int = 256,
) -> float:
    """Share of reconstructions inside the manifold of the originals, in [0, 1]; higher is better.

    Args:
        reference: features of the originals.
        reconstruction: features of the reconstructions, in any order.
        neighbours: k, at least 1.
        rows: memory holds `rows` x max(n, m) distances; does not change the result.

    Raises:
        ValueError: features of unequal dimensions, or a set of k or fewer images.
    """
    _check(reference, reconstruction, neighbours)
    centre = reference.double().mean(dim=0)
    balls, points = reference.double() - centre, reconstruction.double() - centre
    radii = torch.cat(
        [
            # the nearest feature is the feature itself
            _squared_distances(part, balls).kthvalue(neighbours + 1, dim=1).values
            for part in balls.split(rows)
        ]
    )
    norms = balls.square().sum(dim=1)
    inside = 0
    for part in points.split(rows):
        slack = _ROUNDING * (part.square().sum(dim=1, keepdim=True) + norms)
        inside += int((_squared_distances(part, balls) <= radii + slack).any(dim=1).sum())
    return inside / len(points)


def recall(
    reference: Float[Tensor, "n d"], reconstruction: Float[Tensor, "m d"], **options: int
) -> float:
    """Share of originals inside the manifold of the reconstructions; arguments as `precision`."""
    return precision(reconstruction, reference, **options)


jackknifed_precision = jackknifed(precision, min_images=NEIGHBOURS + 1)
jackknifed_recall = jackknifed(recall, min_images=NEIGHBOURS + 1)


def _check(first: Tensor, second: Tensor, neighbours: int) -> None:
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"features must have one dimension, got {tuple(first.shape)}, {tuple(second.shape)}"
        )
    if neighbours < 1 or min(len(first), len(second)) <= neighbours:
        raise ValueError(
            f"precision and recall with {neighbours} neighbours need at least one neighbour and "
            f"{neighbours + 1} images in each set; got {len(first)} and {len(second)} images"
        )


def _squared_distances(x: Float[Tensor, "a d"], y: Float[Tensor, "b d"]) -> Float[Tensor, "a b"]:
    norms = x.square().sum(dim=1, keepdim=True) + y.square().sum(dim=1)
    return torch.addmm(norms, x, y.T, alpha=-2).clamp_(min=0)
