"""One attempt at a run: train, judge, and a record of whatever happened."""

import hashlib
import statistics
import time
import traceback
from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from bench.atomic_files import write_text
from bench.data import test_images
from bench.evaluate import Evaluation, evaluate, reconstruct
from bench.jobs.pictures import save_comparison
from bench.jobs.prepare import Job
from bench.jobs.process import is_fresh_process
from bench.metrics import CodebookReport
from bench.provenance import device_name, environment, git_state
from bench.record import Record, next_attempt, read_record
from bench.training.flops import train_step_flops
from bench.training.log import MetricsLog
from bench.training.networks import build_modules, parameter_counts, weights_sha256
from bench.training.seeds import STREAMS, stream_seed
from bench.training.trainer import DivergedError, Trainer
from models import AutoEncoder
from quantizers import NonFiniteLatentError

_COLLAPSE = 0.01  # of the codes beyond the first, by perplexity
_POSITIONS_PER_CODE = 10
_HEALTH = ("quantization_snr_db", "code_norm_drift", "dead_codes")
_PLACES = ("runs", "leaderboards", "tensorboard", "retry")


def attempt(job: Job) -> Record:
    """Runs to the end or to a failure; both give a record."""
    facts: dict[str, Any] = {}
    try:
        status, reason = _train_and_judge(job, facts)
    except (DivergedError, NonFiniteLatentError) as error:
        status, reason = "diverged", str(error)
    except torch.cuda.OutOfMemoryError as error:
        status, reason = "out_of_memory", str(error).split(". ")[0]
    except Exception as error:
        status, reason = "error", f"{type(error).__name__}: {str(error) or 'no message'}"
        write_text(job.directory / "error.txt", traceback.format_exc())
    return Record(
        run=job.run,
        attempt=_attempt_number(job),
        status=status,
        reason=reason.splitlines()[0] if reason else "",
        protocol=job.protocol,
        quantizer={
            "name": job.point.name,
            "hyperparameters": job.point.hyperparameters,
            "operating_point": job.point.label,
            "control": job.point.control,
        },
        seed=job.config.seed,
        seeds={stream: stream_seed(job.config.seed, stream) for stream in STREAMS},
        tuning={"ruleset": job.config.ruleset, "trials": job.config.trials},
        environment=environment(job.device) | {"device": device_name(job.device)},
        git=git_state(),
        config=_without_places(asdict(job.config)),
        command=job.command,
        **facts,
    )


def _attempt_number(job: Job) -> int:
    """One more than any record of the run has, in the folder of records or in its own."""
    own = job.directory / "record.json"
    previous = read_record(own).attempt if own.exists() else 0
    return max(next_attempt(job.records, job.run), previous + 1)


def _train_and_judge(job: Job, facts: dict[str, Any]) -> tuple[str, str]:
    """Fills `facts` as they become known, so that a failure keeps those before it."""
    modules = build_modules(job.config, job.point)
    autoencoder = modules.autoencoder
    pixels_per_position = autoencoder.downsampling**2
    facts["rate"] = {
        "bits_per_position": job.point.bits_per_position,
        "bits_per_pixel": job.point.bits_per_position / pixels_per_position,
    }
    facts["parameters"] = parameter_counts(modules)
    facts["hashes"] = {
        "frame_at_step_0": weights_sha256(autoencoder.encoder, autoencoder.decoder),
        "discriminator_at_step_0": weights_sha256(modules.discriminator),
        "perceptual_loss": weights_sha256(modules.perceptual),
        **judge_hashes(job),
    }
    flops = train_step_flops(
        job.config, modules, job.data.train, device=job.device, autocast=job.autocast
    )
    if job.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(job.device)
    trainer = Trainer(
        job.config,
        modules,
        job.data.train,
        directory=job.directory,
        device=job.device,
        autocast=job.autocast,
        name=job.label,
    )
    trainer.run()
    facts["budget"] = {
        "steps": trainer.step,
        "samples": trainer.step * job.config.recipe.batch_size,
        "learning_rates": _learning_rates(trainer),
        "train_step_flops": flops,
    }
    facts["training"] = _health(job)
    facts["timing"] = {
        "ms_per_step": trainer.window.median_ms_per_step,
        "train_seconds": trainer.window.seconds,
        "fresh_process": is_fresh_process(),
    }
    if job.device.type == "cpu":
        facts["timing"]["processor_share"] = trainer.window.median_processor_share
    if job.config.compile:
        facts["timing"]["compile_seconds"] = trainer.window.compile_seconds
    if job.device.type == "cuda":
        facts["memory"] = {"peak_bytes": torch.cuda.max_memory_allocated(job.device)}
    facts["hashes"]["batches"] = trainer.batches_sha256
    return _judge(job, trainer.average.module, facts)


def _judge(job: Job, autoencoder: AutoEncoder, facts: dict[str, Any]) -> tuple[str, str]:
    """Scores the test images; fills `facts` on."""
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
    )
    facts["timing"]["evaluate_seconds"] = time.perf_counter() - started
    facts["hashes"]["test_images"] = images_sha256(images)
    facts |= judged(evaluation)
    facts["rate"] |= _measured_rate(codebooks)
    save_comparison(job.directory / "reconstructions.png", images, reconstruction)
    return _verdict(codebooks)


def _health(job: Job) -> dict[str, float]:
    """Of the codes, from the log's line of the last step: a resumed run may have had none to do."""
    for line in MetricsLog.lines(job.directory):
        if line["step"] == job.config.steps:
            return {name: line[name] for name in _HEALTH if name in line}
    return {}


def _learning_rates(trainer: Trainer) -> dict[str, list[float]]:
    """The rates that the optimizers really have at the end."""
    optimizers = {"autoencoder": trainer.optimizer}
    if trainer.adversary:
        optimizers["discriminator"] = trainer.adversary.optimizer
    return {
        name: sorted({float(group["lr"]) for group in optimizer.param_groups})
        for name, optimizer in optimizers.items()
    }


def judge_hashes(job: Job) -> dict[str, str]:
    """Identity of the networks that judge: equal hashes, equal judge."""
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


def judged(evaluation: Evaluation) -> dict[str, Any]:
    """The fields of a record that come from the judge."""
    report = evaluation.codebooks
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
            asdict(use)
            | {
                "usage": use.usage,
                "usage_ceiling": use.usage_ceiling,
                "perplexity": use.perplexity,
                "miller_madow_entropy_bits": use.miller_madow_entropy_bits,
            }
            for use in report.codebooks
        ],
    }


def _measured_rate(codebooks: CodebookReport) -> dict[str, float | None]:
    """Entropy-coded bits per position, corrected for bias: each codebook alone, and all together.

    The joint code is counted only where there are ten positions for each code in use: with fewer,
    its entropy says how many positions there are.
    """
    joint = codebooks.joint
    counted = joint is not None and joint.tokens >= _POSITIONS_PER_CODE * joint.used_codes
    return {
        "measured_bits_per_position": codebooks.miller_madow_entropy_bits,
        "joint_bits_per_position": joint.miller_madow_entropy_bits if joint and counted else None,
    }


def _verdict(codebooks: CodebookReport) -> tuple[str, str]:
    """A run whose codebooks use less than 1 % of their codes, in the mean, has collapsed.

    By perplexity, less the one code that is always used. The product of the perplexities says
    nothing here: of many codebooks it is far below 1 % where each is well used.
    """
    used = [(2**use.entropy_bits - 1) / (use.codebook_size - 1) for use in codebooks.codebooks]
    if not used or statistics.mean(used) >= _COLLAPSE:
        return "ok", ""
    sizes = [use.codebook_size for use in codebooks.codebooks]
    perplexities = [f"{2**use.entropy_bits:.3g}" for use in codebooks.codebooks]
    codes = " x ".join(map(str, sizes))
    return "collapsed", f"perplexity {' x '.join(perplexities)} of {codes} codes"


def _without_places(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration without what names folders of this machine or moves no number.

    Without `compile=false` too: records from before that option are compared with later ones.
    """
    left_out = _PLACES if config["compile"] else (*_PLACES, "compile")
    config = {key: value for key, value in config.items() if key not in left_out}
    return config | {"data": config["data"] | {"root": None}}
