"""Hand-made records of the points of a study."""

import numpy as np
import yaml
from records import protocol, record

from bench.conf import studies as study


def recipe(point):
    """The recipe of a record, with the frame that a point asks for."""
    typed = [override.split("=") for override in point.overrides]
    frame = {key.rpartition(".")[2]: yaml.safe_load(value) for key, value in typed}
    return {"name": "tiny", "image_size": 32, "batch_size": 32, "frame": frame}


def run_of(point, seed, psnr, **metrics):
    """A record of a point whose images scatter around a mean."""
    generator = np.random.default_rng(seed)
    images = (psnr + generator.normal(0, 0.1, 40)).tolist()
    operating_point = study._operating_point(point.quantizer, point.rate)
    settings = operating_point | point.hyperparameters
    data = {"name": "photos", "fingerprint": "f", "description": "p", "test_images": 40}
    base = record(name=point.quantizer, seed=seed, psnr=float(np.mean(images)))
    return record(
        name=point.quantizer,
        seed=seed,
        run=f"{point.name}-seed{seed}",
        protocol=protocol(
            rate=point.rate,
            data=data,
            downsampling=point.downsampling or 4,
            recipe=recipe(point),
        ),
        quantizer={
            "name": point.quantizer,
            "hyperparameters": settings,
            "operating_point": ", ".join(f"{key}={value}" for key, value in settings.items()),
            "control": None,
        },
        config=base.config | {"rate": point.rate},
        rate=base.rate
        | {
            "bits_per_position": point.rate,
            "bits_per_pixel": point.rate / (point.downsampling or 4) ** 2,
        },
        metrics=base.metrics | {"psnr_db": float(np.mean(images))} | metrics,
        per_image={"psnr_db": images},
    )


def runs_of(chosen, values, seeds=(0, 1, 2), **metrics):
    points = {point.name: point for point in chosen.points}
    return [
        run_of(points[name], seed, psnr + 0.01 * seed, **metrics)
        for name, psnr in values.items()
        for seed in seeds
    ]
