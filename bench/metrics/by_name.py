"""Metrics by name: what `metrics=` of `bench.score` and of `bench.run` asks for.

A name is one of `bench.metric.METRICS` that has a function, plugins' metrics included. A
metric of sets may name the extractor of its features, as in `fd:dinov2-vit-b-14`; without one it
uses the judge's own. `sfid` is short for `fd:inception-spatial`.
"""

from collections.abc import Iterable, Sequence

from jaxtyping import UInt8
from torch import Tensor

from bench.command_line import did_you_mean
from bench.metric import METRICS
from bench.metrics.extractor import choose_extractor
from bench.metrics.features import Extractor
from bench.metrics.request import RequestedMetric

_SHORT = {"sfid": "fd:inception-spatial"}


def metrics_by_name(names: Iterable[str], *, extractor: Extractor) -> list[RequestedMetric]:
    """The metrics that were asked for, each once.

    Args:
        extractor: the judge's own.

    Raises:
        FileNotFoundError: the weights of an extractor are not on this machine.
        ValueError: an unknown metric or extractor, or an extractor for a metric without features.
    """
    known = [name for name, metric in METRICS.items() if metric.function]
    of_sets = [name for name in known if METRICS[name].kind == "set"]
    extractors = {"": extractor, extractor.name: extractor}
    requested: dict[str, RequestedMetric] = {}
    for typed in names:
        name, colon, features = _SHORT.get(typed, typed).partition(":")
        if name not in (*known, *_SHORT):
            raise ValueError(did_you_mean("metric", name, (*known, *_SHORT)))
        if colon and (name not in of_sets or not features):
            listed = ", ".join(f"{name}:NAME" for name in of_sets)
            raise ValueError(f"got {typed!r}; an extractor follows only {listed}")
        if features not in extractors:
            extractors[features] = choose_extractor(features)
        metric = METRICS[name]
        own = extractors[features] if name in of_sets else None
        key = own.key(name) if own else name
        if key not in requested:
            requested[key] = RequestedMetric(
                key=key,
                kind=metric.kind,
                function=metric.load(),
                extractor=own,
                name=typed,
                min_images=metric.min_images,
                min_images_per_feature=metric.min_images_per_feature,
                description=metric.described(),
            )
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
