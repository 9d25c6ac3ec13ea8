"""One metric that the judge is asked to compute, with everything that this takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.metrics.features import Extractor


@dataclass(frozen=True, kw_only=True)
class RequestedMetric:
    """One metric.

    Attributes:
        key: in records.
        kind: what the function takes.
            `image`: originals and reconstructions, uint8 "n 3 h w"; gives one value an image.
            `pooled`: the PSNR of every image; gives one number.
            `set`: features of originals and of reconstructions, "n d"; gives one number, or a
            `bench.metrics.distances.Jackknifed` one.
        function: computes it.
        extractor: whose features a `set` metric compares.
        name: as it was asked for; empty for the standard metrics.
        min_images: how many a `set` metric needs.
        min_images_per_feature: the same for each feature of an image.
        description: what records keep of it.
    """

    key: str
    kind: str
    function: Callable[..., Any]
    extractor: Extractor | None = None
    name: str = ""
    min_images: int = 2
    min_images_per_feature: int = 0
    description: Mapping[str, Any] = field(default_factory=dict)
