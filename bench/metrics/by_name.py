"""Metrics by name: what `metrics=` of `bench.score` and of `bench.run` asks for.

A name is one of `bench.report.metric.METRICS` that has a function, plugins' metrics included. A
metric of sets may name the extractor of its features, as in `fd:dinov2-vit-b-14`; without one it
uses the judge's own. `sfid` is short for `fd:inception-spatial`.
"""

from collections.abc import Iterable, Sequence

from jaxtyping import UInt8
from torch import Tensor

from bench.command_line import did_you_mean
from bench.metrics.extractor import choose_extractor
from bench.metrics.features import Extractor
from bench.metrics.request import RequestedMetric
from bench.report.metric import METRICS

_SHORT = {"sfid": "fd:inception-spatial"}


def metrics_by_name(names: Iterable[str], *, extractor: Extractor) -> list[RequestedMetric]:
    """The metrics that were asked for, each once.

    Args:
        names: as a user types them.
        extractor: the judge's own.

    Raises:
        FileNotFoundError: the weights of an extractor are not on this machine.
        ValueError: an unknown metric or extractor, or an extractor for a metric without features.
    """
    extractors = {"": extractor, extractor.name: extractor}
    requested = {}
    for typed in names:
        name, colon, features = _SHORT.get(typed, typed).partition(":")
        known = {metric.name for metric in METRICS.values() if metric.function} | _SHORT.keys()
        if name not in known:
            raise ValueError(did_you_mean("metric", name, known))
        if name in _SHORT or (colon and (METRICS[name].kind != "set" or not features)):
            takers = (f"{key}:NAME" for key in sorted(known - _SHORT.keys()))
            listed = ", ".join(taker for taker in takers if METRICS[taker[:-5]].kind == "set")
            raise ValueError(f"got {typed!r}; an extractor follows only {listed}")
        if features not in extractors:
            extractors[features] = choose_extractor(features)
        metric = _requested(typed, name, extractors[features])
        requested.setdefault(metric.key, metric)
    return list(requested.values())


def check_metrics(
    metrics: Sequence[RequestedMetric], images: UInt8[Tensor, "n 3 h w"], *, count: int
) -> None:
    """Finds out from the first images whether all metrics can be computed, before hours of work.

    Args:
        metrics: from `metrics_by_name`.
        images: at least one of the images to be judged.
        count: how many will be judged.

    Raises:
        ValueError: images too small or too few for a metric, or a metric of the wrong kind.
    """
    for metric in metrics:
        if metric.kind == "image":
            values = metric.function(images[:1], images[:1])
            if values.shape != (1,):
                raise ValueError(f"{metric.name} must give one value per image, got {values!r}")
        needed, reason = metric.min_images, ""
        if metric.extractor and metric.min_images_per_feature:
            dimension = metric.extractor.open("cpu")(images[:1]).shape[1]
            needed = metric.min_images_per_feature * dimension
            reason = f" for {dimension} features"
        if count < needed:
            raise ValueError(f"{metric.name} needs at least {needed} images{reason}, got {count}")


def _requested(typed: str, name: str, extractor: Extractor) -> RequestedMetric:
    metric = METRICS[name]
    of_sets = metric.kind == "set"
    return RequestedMetric(
        key=extractor.key(name) if of_sets else name,
        kind=metric.kind,
        function=metric.load(),
        extractor=extractor if of_sets else None,
        name=typed,
        min_images=metric.min_images,
        min_images_per_feature=metric.min_images_per_feature,
        description=metric.described(),
    )
