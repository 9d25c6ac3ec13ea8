"""Hand-made records for the tests of tables."""

from typing import Any

from bench.record import Record, canonical_sha256


def protocol(**changes: Any) -> dict[str, Any]:
    parts = {
        "version": "1.0",
        "rate": 10.0,
        "budget": "S",
        "steps": 300,
        "recipe": {"name": "tiny", "image_size": 32, "batch_size": 32},
        "downsampling": 4,
        "data": {"name": "photos", "fingerprint": "f" * 64, "description": "p", "test_images": 9},
        "extractor": {"identity": "scattering-v1-0", "metric": "fd_scattering_v1", "label": "x"},
        "perceptual_loss": "lpips_rand-0",
        "perceptual_metric": {"name": "lpips_rand", "identity": "lpips_rand-0"},
        "device": "cpu",
        "precision": "float32",
    } | changes
    return {**parts, "sha256": canonical_sha256(parts)}


def record(name: str = "gsq", seed: int = 0, psnr: float = 25.0, **changes: Any) -> Record:
    facts: dict[str, Any] = {
        "run": f"tiny-{name}-seed{seed}",
        "attempt": 1,
        "status": "ok",
        "reason": "",
        "protocol": protocol(),
        "quantizer": {
            "name": name,
            "hyperparameters": {"codebook_size": 1024},
            "operating_point": "codebook_size=1024",
            "control": None,
        },
        "seed": seed,
        "seeds": {},
        "rate": {"bits_per_position": 10.0, "bits_per_pixel": 0.625},
        "metrics": {
            "psnr_db": psnr,
            "ssim": 0.8,
            "lpips_rand": 0.01,
            "fd_scattering_v1": 1.5,
            "usage": 0.5,
            "usage_ceiling": 1.0,
            "perplexity": 400.0,
        },
        "parameters": {"encoder": 1000, "decoder": 2000, "quantizer": 300},
        "timing": {"ms_per_step": 100.0},
        "hashes": {"frame_at_step_0": f"frame{seed}", "batches": f"batches{seed}"},
        "environment": {"device": "cpu x"},
        "git": {"commit": "abc"},
        "command": f"python -m bench.run quantizer={name} seed={seed}",
    }
    return Record(**(facts | changes))
