"""Validates the embedded extractor: does its distance grow with synthetic damage?

    python -m bench.metrics.validate [leaderboards=DIR]

Held-out photographs (the test crops of the data set `photos`; the weights of the extractor were set
on other pixels) are damaged by ten distortions in five severities each. To pool the distortions,
severities are calibrated to equal damage: the geometric mean of the RMSE (peak value 1) and
1 - SSIM. Either one by itself would be unfair: a distance between raw pixels measures RMSE by
construction, and SSIM barely sees a colour shift. The calibration uses none of the judged
extractors.

The score is Spearman's rank correlation between distance and severity over all distortions
together. Its maximum is below 1, since equal severities are ties. Raw pixels and an untrained
network with the same number of features are judged in the same way. The command writes metrics.md
and metrics.svg.
"""

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from bench.atomic_files import write_text
from bench.command_line import DONE, FAILED, Options, run_command
from bench.data import load_data, test_images
from bench.markdown import markdown_table
from bench.metrics.damage_plot import draw_curves
from bench.metrics.distortions import DAMAGES, DISTORTIONS, damaged_equally
from bench.metrics.scattering import DIMENSION, scattering_identity
from bench.metrics.scattering_file import load_scattering
from bench.statistics.distribution import frechet_distance

ACCEPTED = 0.9  # rank correlation
_IMAGE_SIZE = 32
_BATCH = 64
_RAW, _RANDOM = "raw pixels", "random network"
_UNSCORED = ("lost contrast", "checkerboard")  # not among the eight kinds that acceptance needs

Features = Callable[[UInt8[Tensor, "b 3 h w"]], Float[Tensor, "b d"]]


@dataclass(frozen=True)
class Verdict:
    """The distances of one extractor, and its scores.

    Attributes:
        distances: Frechet distances by distortion, in order of severity.
    """

    distances: dict[str, list[float]]

    @property
    def monotone(self) -> int:
        """Number of distortions whose distance grows with every severity."""
        return sum(bool(np.all(np.diff(row) > 0)) for row in self.distances.values())

    def correlation(self, leave_out: Sequence[str] = ()) -> float:
        """Spearman's rank correlation of distance and severity, over all distortions together."""
        from scipy.stats import spearmanr

        rows = [row for name, row in self.distances.items() if name not in leave_out]
        severities = [severity for row in rows for severity in range(len(row))]
        return float(spearmanr(severities, [value for row in rows for value in row]).statistic)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0 if the embedded extractor is accepted, 1 if not, 2 for a typo."""
    return run_command(
        _validate, help=__doc__, defaults={"leaderboards": "leaderboards"}, arguments=arguments
    )


def _validate(options: Options) -> int:
    folder = options.folder("leaderboards")
    images = test_images(load_data("photos", image_size=_IMAGE_SIZE).test)
    sets = {d.name: damaged_equally(d, images, DAMAGES) for d in DISTORTIONS}
    extractors: dict[str, Features] = {
        scattering_identity(): load_scattering(),
        _RANDOM: random_network(),
        _RAW: lambda images: images.flatten(1).double() / 255,
    }
    verdicts = {name: _judge(features, images, sets) for name, features in extractors.items()}
    curves = {
        name: list(zip(DAMAGES, row, strict=True))
        for name, row in verdicts[scattering_identity()].distances.items()
    }
    write_text(folder / "metrics.svg", draw_curves(curves))
    write_text(folder / "metrics.md", page(verdicts, len(images)))
    print((folder / "metrics.md").read_text(encoding="utf-8"))
    return DONE if accepted(verdicts) else FAILED


def _judge(features: Features, images: Tensor, sets: dict[str, list[Tensor]]) -> Verdict:
    """Frechet distance between every damaged set and its originals."""

    def extract(images: Tensor) -> np.ndarray:
        with torch.no_grad():
            return torch.cat([features(x).double() for x in images.split(_BATCH)]).numpy()

    reference = extract(images)
    return Verdict(
        {
            name: [frechet_distance(reference, extract(damaged)) for damaged in severities]
            for name, severities in sets.items()
        }
    )


def accepted(verdicts: dict[str, Verdict]) -> bool:
    """Monotone everywhere, with a rank correlation of at least 0.9 and above both baselines."""
    embedded = verdicts[scattering_identity()]
    baseline = max(verdicts[name].correlation() for name in (_RAW, _RANDOM))
    return (
        embedded.monotone == len(embedded.distances)
        and embedded.correlation() >= ACCEPTED
        and embedded.correlation() > baseline
    )


def random_network() -> Features:
    """Four convolutions with seeded weights and a mean over positions: 168 features."""
    channels = (3, 32, 64, 96, DIMENSION)
    generator = torch.Generator().manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(channels):
        convolution = nn.utils.skip_init(
            nn.Conv2d, before, after, 3, padding=1, stride=2 if layers else 1, bias=False
        )
        nn.init.kaiming_normal_(convolution.weight, generator=generator)
        layers += [convolution, nn.GELU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return lambda images: network(images.float() / 127.5 - 1)


def page(verdicts: dict[str, Verdict], images: int) -> str:
    """The report in Markdown."""
    scores = [
        {
            "extractor": name,
            "monotone": f"{verdict.monotone} of {len(verdict.distances)}",
            "rank correlation": f"{verdict.correlation():.3f}",
            "without the last two distortions": f"{verdict.correlation(_UNSCORED):.3f}",
        }
        for name, verdict in verdicts.items()
    ]
    distances = [
        {"distortion": name}
        | {str(damage): f"{value:.3g}" for damage, value in zip(DAMAGES, row, strict=True)}
        for name, row in verdicts[scattering_identity()].distances.items()
    ]
    return _PAGE.format(
        verdict="Accepted" if accepted(verdicts) else "Not accepted",
        accepted=ACCEPTED,
        images=images,
        side=_IMAGE_SIZE,
        scores=markdown_table(scores),
        extractor=scattering_identity(),
        distances=markdown_table(distances),
    )


_PAGE = """<!-- generated by python -m bench.metrics.validate, do not edit -->
# Validation of the embedded extractor

{verdict}: an extractor is accepted if its distance is monotone in every distortion, its rank
correlation is at least {accepted}, and both others have a lower one. {images} crops of {side} px
from held-out strips of eight photographs.

{scores}

Severities are calibrated to equal damage, sqrt(RMSE x (1 - SSIM)). The rank correlation (Spearman)
is between distance and severity over all distortions together. The weights of the extractor were
set on other pixels of the same photographs, damaged in the same ways.

Frechet distance of `{extractor}` by damage:

{distances}

![Distance over damage, one curve for each distortion, both axes logarithmic](metrics.svg)
"""


if __name__ == "__main__":
    sys.exit(main())
