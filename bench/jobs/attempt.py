"""One attempt at a run: train, judge, and a record of whatever happened."""

import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from bench.atomic_files import write_text
from bench.jobs.judging import Judged, judge, judge_hashes
from bench.jobs.prepare import Job
from bench.jobs.process import is_fresh_process
from bench.jobs.protocol import recorded_config
from bench.provenance import device_name, environment, git_state
from bench.record import Record, next_attempt, read_record
from bench.training.flops import train_step_flops
from bench.training.log import MetricsLog
from bench.training.networks import Modules, build_modules, parameter_counts, weights_sha256
from bench.training.seeds import STREAMS, stream_seed
from bench.training.trainer import DivergedError, Trainer
from quantizers import NonFiniteLatentError

_CODE_HEALTH = ("quantization_snr_db", "code_norm_drift", "dead_codes")


@dataclass(frozen=True, kw_only=True)
class Built:
    """What is known before the first step, by the fields of `Record`."""

    rate: dict[str, float]
    parameters: dict[str, int]
    hashes: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What is known after the last step, by the fields of `Record`."""

    budget: dict[str, Any]
    training: dict[str, float]
    timing: dict[str, Any]
    hashes: dict[str, str]
    memory: dict[str, int] = field(default_factory=dict)


def attempt(job: Job) -> Record:
    """Runs to the end or to a failure; both give a record, with everything known by then."""
    fields: dict[str, Any] = {}
    try:
        for part in _train_and_judge(job):
            fields = _joined(fields, vars(part))
    except (DivergedError, NonFiniteLatentError) as error:
        fields |= {"status": "diverged", "reason": str(error)}
    except torch.cuda.OutOfMemoryError as error:
        fields |= {"status": "out_of_memory", "reason": str(error).split(". ")[0]}
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error) or 'no message'}"
        fields |= {"status": "error", "reason": reason}
        write_text(job.directory / "error.txt", traceback.format_exc())
    fields["reason"] = "".join(fields["reason"].splitlines()[:1])
    return Record(
        run=job.run,
        attempt=_attempt_number(job),
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
        config=recorded_config(job.config),
        command=job.command,
        **fields,
    )


def _train_and_judge(job: Job) -> Iterator[Built | Trained | Judged]:
    """Yields each part as soon as it is known."""
    modules = build_modules(job.config, job.point)
    yield _built(job, modules)
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
    trainer.restore()
    trainer.run()
    yield _trained(job, trainer, flops)
    yield judge(job, trainer.average.module)


def _built(job: Job, modules: Modules) -> Built:
    bits, frame = job.point.bits_per_position, modules.autoencoder
    return Built(
        rate={"bits_per_position": bits, "bits_per_pixel": bits / frame.downsampling**2},
        parameters=parameter_counts(modules),
        hashes={
            "frame_at_step_0": weights_sha256(frame.encoder, frame.decoder),
            "discriminator_at_step_0": weights_sha256(modules.discriminator),
            "perceptual_loss": weights_sha256(modules.perceptual),
            **judge_hashes(job),
        },
    )


def _trained(job: Job, trainer: Trainer, flops: int) -> Trained:
    window = trainer.step_window
    timing = {
        "ms_per_step": window.median_ms_per_step,
        "train_seconds": window.seconds,
        "fresh_process": is_fresh_process(),
    }
    if job.device.type == "cpu":
        timing["processor_share"] = window.median_processor_share
    if job.config.compile:
        timing["compile_seconds"] = window.compile_seconds
    on_gpu = job.device.type == "cuda"
    return Trained(
        budget={
            "steps": trainer.step,
            "samples": trainer.step * job.config.recipe.batch_size,
            "learning_rates": _learning_rates(trainer),
            "train_step_flops": flops,
        },
        training=_code_health(job),
        timing=timing,
        hashes={"batches": trainer.batches_sha256},
        memory={"peak_bytes": torch.cuda.max_memory_allocated(job.device)} if on_gpu else {},
    )


def _learning_rates(trainer: Trainer) -> dict[str, list[float]]:
    """The learning rates that the optimizers have at the end, by network."""
    optimizers = {"autoencoder": trainer.optimizer}
    if trainer.adversary:
        optimizers["discriminator"] = trainer.adversary.optimizer
    return {
        name: sorted({float(group["lr"]) for group in optimizer.param_groups})
        for name, optimizer in optimizers.items()
    }


def _code_health(job: Job) -> dict[str, float]:
    """Health of the codes, from the log's last line: a resumed run may have had no step left."""
    for line in MetricsLog.lines(job.directory):
        if line["step"] == job.config.steps:
            return {name: line[name] for name in _CODE_HEALTH if name in line}
    return {}


def _joined(fields: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Fields of a record with those of its next part; mappings in both are merged."""
    merged = {name: fields[name] | more[name] for name in fields.keys() & more.keys()}
    return fields | more | merged


def _attempt_number(job: Job) -> int:
    """One more than the highest number in the folder of records and in the run's own folder."""
    own = job.directory / "record.json"
    previous = read_record(own).attempt if own.exists() else 0
    return max(next_attempt(job.records, job.run), previous + 1)
