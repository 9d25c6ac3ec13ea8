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
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bench.metrics.streaming import StreamingMoments, moments_frechet_distance

_SIZES = 15
_SMALLEST_PART = 4  # the smallest subset is a quarter of the images


def frechet_distance_at_infinity(
    reference: Float[Tensor, "n d"], reconstruction: Float[Tensor, "n d"], *, seed: int = 0
) -> float:
    """The estimate for infinitely many images; its error may push it below 0.

    Args:
        reference: features of the originals.
        reconstruction: features of the reconstructions, in the same order.
        seed: of the permutation.

    Raises:
        ValueError: unequal shapes, or fewer than 4 d images.
    """
    check_count(len(reference), reference.shape[1])
    if reference.shape != reconstruction.shape:
        raise ValueError(
            "paired features have one shape, "
            f"got {tuple(reference.shape)} and {tuple(reconstruction.shape)}"
        )
    order = torch.randperm(len(reference), generator=torch.Generator().manual_seed(seed))
    sizes = np.linspace(len(order) // _SMALLEST_PART, len(order), _SIZES).round().astype(int)
    first, second = (StreamingMoments(reference.shape[1]) for _ in range(2))
    distances = []
    for start, stop in zip([0, *sizes[:-1]], sizes, strict=True):
        rows = order[start:stop]
        first.add(reference[rows])
        second.add(reconstruction[rows])
        distances.append(moments_frechet_distance(first, second))
    return float(np.polyfit(1 / sizes, distances, deg=1)[1])


def check_count(images: int, dimension: int) -> None:
    """Refuses sets that are too small, which is known before any distance is computed.

    Raises:
        ValueError: fewer than 4 images per feature.
    """
    if images < _SMALLEST_PART * dimension:
        raise ValueError(
            f"FD at infinity needs at least {_SMALLEST_PART * dimension} images for {dimension} "
            f"features, {_SMALLEST_PART} times as many, got {images}"
        )
