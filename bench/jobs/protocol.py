"""The protocol: everything that every row of one table must share.

Two records stand in one table only if their protocols have the same hash. It holds the recipe with
its steps, the ruleset, the data and its fingerprint, the judge's networks and code, the kind of
device, the precision, whether the frame is compiled, and `VERSION`, which is raised when a change
of the code moves numbers.
"""

from dataclasses import asdict
from typing import Any

from bench.conf.schema import BUDGETS, BenchConfig
from bench.data import ImageData
from bench.evaluation_code import evaluation_code_sha256
from bench.metrics import Extractor
from bench.record import canonical_sha256
from models import PerceptualDistance

VERSION = "2.0"
_NO_NUMBER = ("log_every", "checkpoint_every")  # of a recipe: moves none


def protocol(
    config: BenchConfig,
    data: ImageData,
    *,
    extractor: Extractor,
    perceptual_loss: PerceptualDistance | None,
    perceptual_metric: PerceptualDistance | None,
    device_kind: str,
    precision: str,
    downsampling: int,
) -> dict[str, Any]:
    """The shared facts of a table, plain JSON, with their hash under `sha256`."""
    recipe = {key: value for key, value in asdict(config.recipe).items() if key not in _NO_NUMBER}
    parts = {
        "version": VERSION,
        "rate": config.rate,
        "budget": config.budget,
        "budget_factor": BUDGETS[config.budget],
        "steps": config.steps,
        "recipe": recipe,
        "ruleset": config.ruleset,
        "trials": config.trials,
        "downsampling": downsampling,
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "description": data.description,
            "test_images": len(data.test),
        },
        "evaluation_code": evaluation_code_sha256(),
        "extractor": {
            "identity": extractor.identity,
            "metric": extractor.metric_key,
            "kernel_metric": extractor.key("kid"),
            "label": extractor.label,
        },
        "perceptual_loss": perceptual_loss.identity if perceptual_loss else "none",
        "perceptual_metric": {
            "name": perceptual_metric.name if perceptual_metric else "none",
            "identity": perceptual_metric.identity if perceptual_metric else "none",
        },
        "device": device_kind,
        "precision": precision,
    }
    if config.compile:  # absent otherwise, so that tables from before the option keep their hash
        parts["compile"] = True
    return {**parts, "sha256": canonical_sha256(parts)}
