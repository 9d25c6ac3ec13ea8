"""Hand-made records for the tests of tables."""

from typing import Any

from bench.record import Record, canonical_sha256, table_name

IMAGES = 40


def protocol(**changes: Any) -> dict[str, Any]:
    parts = {
        "version": "2.0",
        "rate": 10.0,
        "budget": "S",
        "steps": 300,
        "recipe": {"name": "tiny", "image_size": 32, "batch_size": 32},
        "ruleset": "default",
        "trials": 0,
        "downsampling": 4,
        "data": {
            "name": "photos",
            "fingerprint": "f" * 64,
            "description": "p",
            "test_images": IMAGES,
        },
        "evaluation_code": "e" * 64,
        "extractor": {
            "identity": "scattering-v1-0",
            "metric": "fd_scattering_v1",
            "kernel_metric": "kid_scattering_v1",
            "label": "x",
        },
        "perceptual_loss": "lpips_rand-0",
        "perceptual_metric": {"name": "lpips_rand", "identity": "lpips_rand-0"},
        "device": "cpu",
        "precision": "float32",
    } | changes
    return {**parts, "sha256": canonical_sha256(parts)}


def record(name: str = "gsq", seed: int = 0, psnr: float = 25.0, **changes: Any) -> Record:
    """A run whose images spread around `psnr`, the same way for every method."""
    shared = changes.get("protocol", protocol())
    facts: dict[str, Any] = {
        "run": f"{table_name(shared)}-{name}-seed{seed}",
        "attempt": 1,
        "status": "ok",
        "reason": "",
        "protocol": shared,
        "quantizer": {
            "name": name,
            "hyperparameters": {"codebook_size": 1024},
            "operating_point": "codebook_size=1024",
            "control": None,
        },
        "seed": seed,
        "seeds": {"data": 10 + seed, "augment": 20 + seed},
        "rate": {
            "bits_per_position": 10.0,
            "bits_per_pixel": 0.625,
            "measured_bits_per_position": 8.0 + 0.1 * seed,
        },
        "metrics": {
            "psnr_db": psnr,
            "ssim": 0.8,
            "lpips_rand": 0.01,
            "fd_scattering_v1": 1.5,
            "kid_scattering_v1": 0.002,
            "usage": 0.5,
            "usage_ceiling": 1.0,
            "perplexity": 400.0,
        },
        "per_image": {"psnr_db": [psnr + place % 4 - 1.5 for place in range(IMAGES)]},
        "leave_group_out": {"fd_scattering_v1": [1.5] * 20},
        "budget": {
            "steps": 300,
            "samples": 9600,
            "learning_rates": {"autoencoder": [1e-3]},
            "train_step_flops": 26_900_000_000,
        },
        "tuning": {"ruleset": "default", "trials": 0},
        "parameters": {"encoder": 1000, "decoder": 2000, "quantizer": 300},
        "timing": {"ms_per_step": 100.0},
        "hashes": _hashes(seed),
        "environment": {"device": "cpu x"},
        "git": {"commit": "abc"},
        "config": {
            "quantizer": {"name": name},
            "seed": seed,
            "recipe": {"log_every": 10, "optimizer": {"learning_rate": 1e-3}},
        },
        "command": f"python -m bench.run quantizer={name} seed={seed}",
    }
    return Record(**(facts | changes))


def seeds(name: str, *values: float, **changes: Any) -> list[Record]:
    """Runs of one method with seeds 0, 1, ... and these values of PSNR."""
    return [record(name, seed, value, **changes) for seed, value in enumerate(values)]


def cells(text: str, name: str) -> list[str]:
    """The cells of a method's row in a page."""
    row = next(line for line in text.splitlines() if f"| {name} " in line)
    return [cell.strip() for cell in row.split("|")]


def _hashes(seed: int) -> dict[str, str]:
    return {
        "frame_at_step_0": f"frame{seed}",
        "discriminator_at_step_0": f"discriminator{seed}",
        "batches": f"batches{seed}",
        "test_images": "images",
        "extractor": "extractor",
        "perceptual_loss": "loss",
        "perceptual_metric": "metric",
    }


def tuning_trial(number: int, psnr: float, weight: float, **changes: Any) -> Record:
    """A trial of `vq` with a commitment weight; trial 0 is the published setting."""
    seed = 1000 + number
    setting = "" if number == 0 else f" quantizer.commitment_weight={weight}"
    facts: dict[str, Any] = {
        "run": f"{table_name(protocol())}-vq-{weight}-seed{seed}",
        "quantizer": {
            "name": "vq",
            "hyperparameters": {"codebook_size": 1024, "commitment_weight": weight},
            "operating_point": "codebook_size=1024",
            "control": None,
        },
        "command": f"python -m bench.run quantizer=vq{setting} rate=10 seed={seed} split=tune",
    }
    return record("vq", seed, psnr, **(facts | changes))
