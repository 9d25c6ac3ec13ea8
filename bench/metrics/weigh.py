"""Finds the ten weights of the scattering extractor, from training crops of the photographs only.

    python -m bench.metrics.weigh

Equal damage of any kind (see `bench.metrics.distortions`) should give about equal distances. So the
log of the Frechet distance over the severities should be the same straight line for all
distortions. The loss is their variance around that line, divided by its squared slope; Adam
minimizes it over the logarithms of the weights. Five kinds of features have a weight for luma and
one for chroma: too few to overfit the photographs. Prints the weights to two digits, as they stand
in `bench.metrics.scattering`.
"""

import sys
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from bench.command_line import DONE, Options, run_command
from bench.data import load_data
from bench.metrics.distortions import DAMAGES, DISTORTIONS, damaged_equally
from bench.metrics.scattering import WEIGHTS, Scattering, expand_weights

_IMAGES = 900
_DRAWN = 1000  # crops; the flattest are left out
_FIRST_SEED = 1000
_FLAT = 6.0  # standard deviation of the grey levels (0 .. 255)
_IMAGE_SIZE = 32
_BATCH = 64
_STEPS = 40
_LEARNING_RATE = 0.15  # constant for the first half, then falls to 0
_DECAY = 2e-3  # pulls the logarithms towards 0, so that no weight diverges
_JITTER = 1e-8  # on the diagonal of the reference covariance


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0, or 2 for a typo."""
    return run_command(_weigh, help=__doc__, defaults={}, arguments=arguments)


def _weigh(_: Options) -> int:
    moments = _moments()
    logs = torch.zeros(len(WEIGHTS), 2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logs], lr=_LEARNING_RATE)
    for step in range(_STEPS):
        optimizer.param_groups[0]["lr"] = _LEARNING_RATE * min(1, 2 * (1 - step / _STEPS))
        optimizer.zero_grad()
        loss = scatter_around_line(distances(moments, expand_weights(logs.exp())))
        (loss + _DECAY * logs.square().mean()).backward()
        optimizer.step()
        print(f"step {step + 1}: variance around the line {loss.item():.4f}")
    for kind in logs.exp().tolist():
        print("luma {:.2g}, chroma {:.2g}".format(*kind))
    return DONE


def distances(
    moments: tuple[Tensor, Tensor, Tensor], weights: Float[Tensor, " d"]
) -> Float[Tensor, "k s"]:
    """Frechet distances of weighted features, differentiable in the weights.

    Args:
        moments: covariance of the reference (d, d); for every distortion and severity, the shift of
            the mean (k, s, d) and the covariance (k, s, d, d).
        weights: one per feature.
    """
    reference, shift, covariance = moments
    factor = torch.linalg.cholesky(reference + _JITTER * torch.eye(len(reference)).double())
    scaled = weights.square()[:, None] * factor
    roots = torch.linalg.eigvalsh(scaled.T @ covariance @ scaled).clamp(min=1e-20).sqrt()
    traces = reference.diagonal() + covariance.diagonal(dim1=-2, dim2=-1)
    return (weights.square() * (shift.square() + traces)).sum(dim=-1) - 2 * roots.sum(dim=-1)


def scatter_around_line(values: Float[Tensor, "k s"]) -> Float[Tensor, ""]:
    """Variance of the logs around one line over the severities, divided by its squared slope."""
    logs = values.clamp(min=1e-9).log()
    severity = torch.linspace(-1, 1, logs.shape[1], dtype=logs.dtype)
    slope = (logs.mean(dim=0) * severity).sum() / severity.square().sum()
    return (logs - logs.mean() - slope * severity).square().mean() / slope.square()


def _moments() -> tuple[Tensor, Tensor, Tensor]:
    crops = load_data("photos", image_size=_IMAGE_SIZE).train
    images = torch.stack([crops.image(n % len(crops), _FIRST_SEED + n) for n in range(_DRAWN)])
    images = images[images.double().mean(dim=1).flatten(1).std(dim=1) > _FLAT][:_IMAGES]
    reference = _features(images)
    shifts, covariances = [], []
    for distortion in DISTORTIONS:
        sets = [_features(x) for x in damaged_equally(distortion, images, DAMAGES)]
        shifts.append(torch.stack([x.mean(dim=0) - reference.mean(dim=0) for x in sets]))
        covariances.append(torch.stack([torch.cov(x.T) for x in sets]))
    return torch.cov(reference.T), torch.stack(shifts), torch.stack(covariances)


def _features(images: Tensor) -> Float[Tensor, "n d"]:
    """Features without the weights."""
    network = Scattering()
    with torch.no_grad():
        features = torch.cat([network(batch) for batch in images.split(_BATCH)])
    return features / expand_weights(torch.tensor(WEIGHTS, dtype=torch.float64))


if __name__ == "__main__":
    sys.exit(main())
