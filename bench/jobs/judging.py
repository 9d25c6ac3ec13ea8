"""Judging a trained model in one job: its test images, the judge's numbers, and a picture."""

import hashlib
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from bench.atomic_files import replacing
from bench.data import test_images
from bench.evaluate import Evaluation, evaluate, reconstruct
from bench.jobs.prepare import Job
from bench.metrics import CodebookReport
from bench.training.networks import weights_sha256
from models import AutoEncoder

_COLLAPSED = 0.01  # of the codes beyond the first, by perplexity
_POSITIONS_PER_CODE = 10
_COLUMNS = 16
_SIDE = 96  # pixels; images are enlarged to it, so that 32 px can be seen


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What is known once the run is judged, by the fields of `Record`."""

    status: str
    reason: str
    rate: dict[str, float | None]
    metrics: dict[str, float]
    per_image: dict[str, list[float]]
    leave_group_out: dict[str, list[float]]
    codebooks: list[dict[str, Any]]
    timing: dict[str, float]
    hashes: dict[str, str]


def judge(job: Job, autoencoder: AutoEncoder) -> Judged:
    """Reconstructs and scores the test images; saves a picture of some of them."""
    started = time.perf_counter()
    images = test_images(job.data.test)
    reconstruction, codebooks = reconstruct(autoencoder, images, device=job.device)
    evaluation = evaluate(
        images,
        reconstruction,
        codebooks,
        extractor=job.extractor,
        perceptual=job.perceptual,
        device=job.device,
        metrics=job.metrics,
    )
    seconds = time.perf_counter() - started
    save_comparison(job.directory / "reconstructions.png", images, reconstruction)
    status, reason = verdict(codebooks)
    return Judged(
        status=status,
        reason=reason,
        rate=_measured_rate(codebooks),
        timing={"evaluate_seconds": seconds},
        hashes={"test_images": images_sha256(images)},
        **judged_fields(evaluation),
    )


def judge_hashes(job: Job) -> dict[str, str]:
    """Identity of the judge's networks: equal hashes, equal networks."""
    weights = job.extractor.weights
    content = weights.read_bytes() if weights else job.extractor.identity.encode()
    return {
        "extractor": hashlib.sha256(content).hexdigest(),
        "perceptual_metric": weights_sha256(job.perceptual),
    }


def images_sha256(images: UInt8[Tensor, "n 3 H W"]) -> str:
    """Identity of a set of images in its order."""
    shape = str(tuple(images.shape)).encode()
    return hashlib.sha256(shape + images.numpy().tobytes()).hexdigest()


def judged_fields(evaluation: Evaluation) -> dict[str, Any]:
    """The fields of a record that hold an evaluation."""
    report = evaluation.codebooks
    derived = ("usage", "usage_ceiling", "perplexity", "miller_madow_entropy_bits")
    usage = {
        "usage": report.mean_usage,
        "usage_ceiling": report.mean_usage_ceiling,
        "perplexity": report.perplexity,
    }
    return {
        "metrics": evaluation.metrics | (usage if report.codebooks else {}),
        "per_image": evaluation.per_image,
        "leave_group_out": evaluation.leave_group_out,
        "codebooks": [
            asdict(use) | {name: getattr(use, name) for name in derived} for use in report.codebooks
        ],
    }


def verdict(codebooks: CodebookReport) -> tuple[str, str]:
    """Status and reason. A run has collapsed if its codebooks on average use below 1 % of codes.

    Usage is by perplexity, without the one code that is always used. The product of the
    perplexities would not do: with many codebooks it is far below 1 % even if each is well used.
    """
    used = [(2**use.entropy_bits - 1) / (use.codebook_size - 1) for use in codebooks.codebooks]
    if not used or statistics.mean(used) >= _COLLAPSED:
        return "ok", ""
    perplexities = " x ".join(f"{2**use.entropy_bits:.3g}" for use in codebooks.codebooks)
    sizes = " x ".join(str(use.codebook_size) for use in codebooks.codebooks)
    return "collapsed", f"perplexity {perplexities} of {sizes} codes"


def _measured_rate(codebooks: CodebookReport) -> dict[str, float | None]:
    """Entropy-coded bits per position, corrected for bias: of each codebook, and of all jointly.

    The joint entropy is null below ten positions per code in use. There it only measures how many
    positions there are.
    """
    joint = codebooks.joint
    counted = joint is not None and joint.tokens >= _POSITIONS_PER_CODE * joint.used_codes
    return {
        "measured_bits_per_position": codebooks.miller_madow_entropy_bits,
        "joint_bits_per_position": joint.miller_madow_entropy_bits if joint and counted else None,
    }


def save_comparison(
    path: Path,
    images: UInt8[Tensor, "n 3 H W"],
    reconstruction: UInt8[Tensor, "n 3 H W"],
) -> None:
    """Writes a PNG of evenly spaced test images, with their reconstructions in a second row."""
    from PIL import Image

    shown = torch.linspace(0, len(images) - 1, min(_COLUMNS, len(images))).long()
    scale = max(1, _SIDE // images.shape[-1])
    rows = [torch.cat(list(row[shown]), dim=2) for row in (images, reconstruction)]
    grid = torch.cat(rows, dim=1).repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    with replacing(path) as temporary:
        Image.fromarray(grid.permute(1, 2, 0).contiguous().numpy()).save(temporary, format="PNG")
