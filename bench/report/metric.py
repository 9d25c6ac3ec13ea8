"""Every metric, once: how it is computed, which way is better, how it is written. No torch.

`bench.evaluate`, `bench.score`, tables, footnotes and comparisons all read this list. To add a
metric, write its function in a new file of `bench/metrics/` and add a line to `METRICS`. A plugin
uses the decorator `metric` instead and edits nothing here; its description travels in the record,
so tables can be rebuilt without the plugin.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib import import_module
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

KINDS = ("image", "pooled", "set", "codes")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric, or one family of metrics that differ in the network behind them.

    Attributes:
        name: key in records. An unknown key belongs to the longest name that it starts with, up to
            an underscore: `fd_vgg16` to `fd`.
        label: what a reader calls it; empty for the key itself, as a family needs.
        kind: what its function takes.
            `image`: originals and reconstructions, uint8 "n 3 h w"; gives one value an image.
            `pooled`: the PSNR of every image; gives one number.
            `set`: features of originals and of reconstructions, "n d"; gives one number.
            `codes`: none; the judge computes it from the indices.
        function: `module:name`, or the function itself; empty where the judge computes it itself.
        higher_is_better: direction; None for a number that tables show and nothing compares.
        digits: after the point, in tables.
        unit: of the values that tables show.
        factor: multiplies values where they are shown.
        note: what a reader must know; stands under a table that shows the metric.
        min_images: how many images a `set` metric needs.
        min_images_per_feature: how many images a `set` metric needs for each feature of an image.
    """

    name: str
    label: str = ""
    kind: str = "image"
    function: str | Callable[..., Any] = ""
    higher_is_better: bool | None = False
    digits: int = 4
    unit: str = ""
    factor: float = 1.0
    note: str = ""
    min_images: int = 2
    min_images_per_feature: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"metric {self.name}: kind must be one of {KINDS}, got {self.kind!r}")

    @property
    def title(self) -> str:
        """Label and unit, as text beside a value: `PSNR dB`, `kid_vgg16 x 1000`."""
        factor = f"x {self.factor:g}" if self.factor != 1 and not self.unit else ""
        return " ".join(word for word in (self.label or self.name, factor, self.unit) if word)

    @property
    def head(self) -> str:
        """Head of its column: the title, and an arrow unless it only describes the codes."""
        arrow = "↑" if self.higher_is_better else "↓"
        return self.title if self.kind == "codes" else f"{self.title} {arrow}"

    def cost(self, value: float) -> float:
        """The value with the sign that makes lower better."""
        return -value if self.higher_is_better else value

    def load(self) -> Callable[..., Any]:
        """The function itself; imports its module."""
        if not isinstance(self.function, str):
            return self.function
        module, _, name = self.function.partition(":")
        function: Callable[..., Any] = getattr(import_module(module), name)
        return function

    def described(self) -> dict[str, Any]:
        """What a record keeps of it: everything but the function."""
        return {key: value for key, value in asdict(self).items() if key != "function"}


_ALL = (
    Metric(
        name="psnr_db",
        label="PSNR",
        unit="dB",
        function="bench.metrics:psnr_db",
        higher_is_better=True,
        digits=2,
    ),
    Metric(name="ssim", label="SSIM", function="bench.metrics:ssim", higher_is_better=True),
    Metric(name="l1", function="bench.metrics:l1"),
    Metric(
        name="ms_ssim",
        label="MS-SSIM",
        function="bench.metrics.multi_scale:ms_ssim",
        higher_is_better=True,
    ),
    Metric(name="lpips"),
    Metric(
        name="pooled_psnr_db",
        label="PSNR of all images together",
        unit="dB",
        kind="pooled",
        function="bench.metrics.pooled:pooled_psnr_db",
        higher_is_better=True,
        digits=2,
    ),
    Metric(name="fd", kind="set", function="bench.metrics.distances:frechet_on_request"),
    Metric(name="rfid", label="rFID", kind="set"),
    Metric(name="sfid", label="sFID", kind="set"),
    Metric(
        name="fd_infinity",
        kind="set",
        function="bench.metrics.infinity:frechet_distance_at_infinity",
        min_images_per_feature=4,
    ),
    Metric(
        name="kid",
        kind="set",
        function="bench.metrics.kernel:kernel_in_blocks",
        digits=3,
        factor=1000.0,
    ),
    Metric(
        name="precision",
        kind="set",
        function="bench.metrics.precision_recall:jackknifed_precision",
        higher_is_better=True,
        min_images=4,
    ),
    Metric(
        name="recall",
        kind="set",
        function="bench.metrics.precision_recall:jackknifed_recall",
        higher_is_better=True,
        min_images=4,
    ),
    Metric(name="usage", kind="codes", higher_is_better=True, digits=1, unit="%", factor=100.0),
    Metric(
        name="usage_ceiling",
        label="usage ceiling",
        kind="codes",
        higher_is_better=None,
        digits=1,
        unit="%",
        factor=100.0,
    ),
    Metric(name="perplexity", kind="codes", higher_is_better=True, digits=0),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def metric(name: str, **description: Any) -> Callable[[Function], Function]:
    """Decorator for a plugin: makes a function a metric that tables can show.

        @metric("edge_error", label="edge error", digits=3)
        def edge_error(images, reconstruction): ...   # uint8 (n, 3, h, w) each; returns (n,)

    Args:
        name: key in records.
        description: other attributes of `Metric`.

    Raises:
        ValueError: the name is taken by another function.
    """

    def add(function: Function) -> Function:
        if name in METRICS and METRICS[name].function is not function:
            raise ValueError(f"metric name {name!r} is taken; choose another")
        METRICS[name] = Metric(name=name, function=function, **description)
        return function

    return add


def described(key: str, descriptions: Mapping[str, Mapping[str, Any]] | None = None) -> Metric:
    """The metric behind a key of a record; its name is the key.

    Args:
        key: of `Record.metrics`.
        descriptions: what the record's protocol says of extra metrics, see `Metric.described`.
    """
    if descriptions and key in descriptions:
        known = {field.name for field in fields(Metric)} - {"name", "function"}
        description = descriptions[key]
        return Metric(name=key, **{name: description[name] for name in known & description.keys()})
    name = key
    while name not in METRICS and "_" in name:
        name = name.rpartition("_")[0]
    if name == key or name not in METRICS:
        return METRICS.get(key, Metric(name=key))
    return replace(METRICS[name], name=key, label="")


def metric_of(protocol: Mapping[str, Any], key: str) -> Metric:
    """The metric behind a key, in records of a protocol."""
    return described(key, protocol.get("metrics"))


def rank_metric(protocol: Mapping[str, Any]) -> Metric:
    """What rows are ranked by: rFID where Inception judged, PSNR where only proxies did."""
    return described("rfid" if protocol["extractor"]["metric"] == "rfid" else "psnr_db")


def table_metrics(protocol: Mapping[str, Any]) -> list[Metric]:
    """The metrics that a table shows besides statistics of codes; extra metrics come last."""
    extractor = protocol["extractor"]
    keys = ["psnr_db", "ssim", protocol["perceptual_metric"]["name"]]
    keys += [extractor["metric"], extractor["kernel_metric"]]
    standard = [metric_of(protocol, key) for key in keys if key != "none"]
    return standard + [metric for metric in extra_metrics(protocol) if metric not in standard]


def extra_metrics(protocol: Mapping[str, Any]) -> list[Metric]:
    """The metrics that a protocol asks for beyond the standard ones, by key."""
    return [metric_of(protocol, key) for key in sorted(protocol.get("metrics", {}))]
