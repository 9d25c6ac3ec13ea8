"""Metrics that the judge computes on request, beside those of every evaluation.

A request is a name, or a name and the extractor of its features: `ms_ssim`, `sfid`, `precision`,
`fd:dinov2-vit-b-14`. Without an extractor it is the judge's own. The extractors are those of
`bench.metrics.registered`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from bench.command_line import did_you_mean
from bench.metrics import ms_ssim
from bench.metrics.infinity import check_count, frechet_distance_at_infinity
from bench.metrics.kernel import kernel_sums
from bench.metrics.precision_recall import NEIGHBOURS, precision, recall
from bench.metrics.registered import EXTRACTORS
from bench.statistics import frechet_distance

Features = Float[Tensor, "n d"]

IMAGE_METRICS = {"ms_ssim": ms_ssim}  # one value an image


def pooled_psnr_db(psnr_db: Float[Tensor, " n"]) -> float:
    """PSNR of the squared error of all images together, from that of each image of one size."""
    return float(-10 * (10 ** (-psnr_db.double() / 10)).mean().log10())


POOLED_METRICS = {"pooled_psnr_db": pooled_psnr_db}  # one value of the PSNR of all images


def _frechet(reference: Features, reconstruction: Features) -> float:
    return frechet_distance(reference.double().numpy(), reconstruction.double().numpy())


def _kernel(reference: Features, reconstruction: Features) -> float:
    return kernel_sums(reference, reconstruction).distance()


SET_METRICS: dict[str, Callable[[Features, Features], float]] = {  # one value a set
    "fd": _frechet,
    "fd_infinity": frechet_distance_at_infinity,
    "kid": _kernel,
    "precision": precision,
    "recall": recall,
}
_NAMES = (*IMAGE_METRICS, *POOLED_METRICS, *SET_METRICS, "sfid")


@dataclass(frozen=True)
class Request:
    """One metric that was asked for.

    Attributes:
        metric: a key of `IMAGE_METRICS`, `POOLED_METRICS` or `SET_METRICS`.
        extractor: whose features it compares; None for the judge's own, and where there are none.
    """

    metric: str
    extractor: str | None = None

    @property
    def name(self) -> str:
        """As it is asked for."""
        return f"{self.metric}:{self.extractor}" if self.extractor else self.metric


def read_requests(names: Sequence[str]) -> list[Request]:
    """Metrics by name, each once.

    Raises:
        ValueError: an unknown metric, or an extractor for one that has none or its own.
    """
    return list(dict.fromkeys(_read(name) for name in names))


def _read(name: str) -> Request:
    metric, colon, extractor = name.partition(":")
    if metric not in _NAMES:
        raise ValueError(did_you_mean("metric", metric, _NAMES))
    if colon and (metric not in SET_METRICS or not extractor):
        takers = ", ".join(f"{taker}:NAME" for taker in SET_METRICS)
        raise ValueError(f"got {name!r}; an extractor follows only {takers}")
    if extractor and extractor not in EXTRACTORS:
        raise ValueError(did_you_mean("extractor", extractor, EXTRACTORS))
    if metric == "sfid":
        return Request("fd", "inception-spatial")
    return Request(metric, extractor or None)


def check_request(metric: str, *, images: int, dimension: int) -> None:
    """Refuses a set metric that so many images cannot give, before the others are read.

    Raises:
        ValueError: too few images; says how many there must be.
    """
    if metric == "fd_infinity":
        check_count(images, dimension)
    if metric in ("precision", "recall") and images <= NEIGHBOURS:
        raise ValueError(f"{metric} needs at least {NEIGHBOURS + 1} images, got {images}")
