"""The protocol: everything that all rows of one table share.

Two records stand in one table only if their protocols have the same hash. The protocol holds the
recipe with its steps, the ruleset, the data and its fingerprint, the judge's networks and code, the
kind of device, the precision, the source of plugins, and `VERSION`.

It grows without renaming tables: fields of the schema and options of parts are left out while they
have their default. So a new field or option whose default keeps the old behaviour changes no hash.
Code that changes numbers, or the default of an existing field or option, needs a new `VERSION`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from bench.conf.schema import BUDGETS, MOVES_NO_NUMBER, BenchConfig, name_and_options
from bench.data import DATA_SETS, ImageData
from bench.metrics import Extractor
from bench.metrics.extractor import EXTRACTORS
from bench.metrics.request import RequestedMetric
from bench.provenance import evaluation_code_sha256, is_plugin, part_sha256
from bench.record import canonical_sha256
from bench.report.metric import Metric
from models import DISCRIMINATORS, PERCEPTUAL, PerceptualDistance
from quantizers.registry import Registry

VERSION = "2.0"
_OF_ONE_RUN = ("quantizer", "seed")
_RESOLVED = (  # in the protocol by what they stand for on this machine
    *("data", "split", "plugins", "device", "precision"),
    *("extractor", "perceptual_metric", "metrics"),
)


def protocol(
    config: BenchConfig,
    data: ImageData,
    *,
    extractor: Extractor,
    perceptual_loss: PerceptualDistance | None,
    perceptual_metric: PerceptualDistance | None,
    metrics: Sequence[RequestedMetric] = (),
    device_kind: str,
    precision: str,
    downsampling: int,
) -> dict[str, Any]:
    """The shared facts of a table, plain JSON, with their hash under `sha256`."""
    settings = recorded_config(config)
    shared = {
        "version": VERSION,
        **{k: v for k, v in settings.items() if k not in (*_OF_ONE_RUN, *_RESOLVED)},
        "budget_factor": BUDGETS[config.budget],
        "steps": config.steps,
        "recipe": _recipe(settings["recipe"]),
        "downsampling": downsampling,
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "description": data.description,
            "test_images": len(data.test),
            **_part(DATA_SETS, config.data.name, config.data.options),
        },
        "evaluation_code": evaluation_code_sha256(),
        "extractor": {
            "identity": extractor.identity,
            "metric": extractor.metric_key,
            "kernel_metric": extractor.key("kid"),
            "label": extractor.label,
            **_part(EXTRACTORS, *name_and_options("extractor", config.extractor)),
        },
        "perceptual_loss": perceptual_loss.identity if perceptual_loss else "none",
        "perceptual_metric": {
            "name": perceptual_metric.name if perceptual_metric else "none",
            "identity": perceptual_metric.identity if perceptual_metric else "none",
            **(_part(PERCEPTUAL, perceptual_metric.name, {}) if perceptual_metric else {}),
        },
        "device": device_kind,
        "precision": precision,
    }
    if metrics:
        shared["metrics"] = {metric.key: _metric(metric) for metric in metrics}
    return {**shared, "sha256": canonical_sha256(shared)}


def recorded_config(config: BenchConfig) -> dict[str, Any]:
    """The configuration in records: without defaults of the schema and folders of this machine."""
    settings = _without_defaults(config)
    name, options = name_and_options("recipe.discriminator", config.recipe.discriminator)
    options = _differing(options, DISCRIMINATORS.options(name))
    settings["recipe"]["discriminator"] = {"name": name, **options}
    settings["data"]["root"] = None
    return {name: value for name, value in settings.items() if name not in MOVES_NO_NUMBER}


def _recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    losses = recipe["losses"]
    kind, shape = name_and_options("recipe.discriminator", recipe["discriminator"])
    name, options = name_and_options("recipe.losses.perceptual", losses["perceptual"])
    perceptual = _part(PERCEPTUAL, name, options)
    recipe = recipe | {
        "discriminator": {"name": kind, **_part(DISCRIMINATORS, kind, shape)},
        "losses": losses | {"perceptual": {"name": name, **perceptual} if perceptual else name},
    }
    return {k: v for k, v in recipe.items() if f"recipe.{k}" not in MOVES_NO_NUMBER}


def _part(registry: Registry[Any], name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a part from its namesakes: options beyond the defaults; of a plugin, its source.

    So an edited plugin gets another table.
    """
    factory = registry.lookup(name)
    source = {"source_sha256": part_sha256(factory)} if is_plugin(factory) else {}
    return _differing(options, registry.options(name)) | source


def _metric(metric: RequestedMetric) -> dict[str, Any]:
    described = _differing(metric.description, _defaults(Metric))
    extractor = {"extractor": metric.extractor.identity} if metric.extractor else {}
    return {**described, **extractor, "source_sha256": part_sha256(metric.function)}


def _without_defaults(value: Any) -> Any:
    """A dataclass as a mapping, without the fields that have their default."""
    if not is_dataclass(value):
        return value
    values = {f.name: _without_defaults(getattr(value, f.name)) for f in fields(value)}
    return _differing(values, _defaults(type(value)))


def _defaults(cls: type[Any]) -> dict[str, Any]:
    """The defaults of a dataclass's fields; `MISSING` for a required one."""
    return {
        f.name: f.default if f.default_factory is MISSING else f.default_factory()
        for f in fields(cls)
    }


def _differing(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are not the default; YAML has lists where Python has tuples."""
    return {
        name: value
        for name, value in values.items()
        if name not in defaults or _listed(value) != _listed(defaults[name])
    }


def _listed(value: Any) -> Any:
    return list(map(_listed, value)) if isinstance(value, tuple | list) else value
