"""Image codecs as controls: JPEG and WebP at the bits per pixel of a table.

    python -m bench.codec [rate=8,10] [recipe=tiny] [other options of bench.run]

It refuses `quantizer`, `seed`, `plugins` and `study`, which mean nothing for a codec.

Takes the test images and the judge of the table that `bench.run` makes from the same options, and
adds two rows to it. Every image is a file of its own, written by Pillow, and all of its bytes
count, headers included. One quality serves all images: the highest that keeps the mean size within
the rate. If even the lowest quality exceeds the rate, as for JPEG on small images, the row shows
that quality with its true rate. Nothing is trained.
"""

import io
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import UInt8
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from bench.command_line import Options, UsageError, run_command
from bench.data import test_images
from bench.data.base import to_tensor
from bench.evaluate import evaluate
from bench.jobs.judging import images_sha256, judge_hashes, judged_fields
from bench.jobs.launch import command_of, settle
from bench.jobs.outcome import Outcome
from bench.jobs.prepare import Job
from bench.metrics import CodebookReport
from bench.provenance import device_name, environment, git_state
from bench.record import Record, next_attempt, table_name, write_record
from bench.run import run_jobs

_NOT_HERE = ("quantizer", "seed", "plugins", "study")
_NO_QUANTIZER = "quantizer=none"


@dataclass(frozen=True)
class Codec:
    """One format of Pillow.

    Attributes:
        name: in tables and in Pillow.
        lowest: lowest quality.
        highest: highest quality that the format's documentation advises.
        options: further arguments of Pillow.
    """

    name: str
    lowest: int
    highest: int
    options: dict[str, Any] = field(default_factory=dict)

    def encode(self, image: UInt8[Tensor, "3 h w"], quality: int) -> bytes:
        """The whole file."""
        buffer = io.BytesIO()
        picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
        picture.save(buffer, self.name, quality=quality, **self.options)
        return buffer.getvalue()


CODECS = (Codec("jpeg", 1, 95, {"optimize": True}), Codec("webp", 0, 100))


def encode_at_rate(
    codec: Codec, images: UInt8[Tensor, "n 3 h w"], bits_per_pixel: float
) -> tuple[int, list[bytes]]:
    """The highest quality with a mean size within a rate, or else the lowest; and all files.

    By bisection, since size grows with quality.
    """
    low, high = codec.lowest, codec.highest
    files = [codec.encode(image, low) for image in images]
    while low < high:
        middle = (low + high + 1) // 2
        tried = [codec.encode(image, middle) for image in images]
        if mean_bits_per_pixel(tried, images) <= bits_per_pixel:
            low, files = middle, tried
        else:
            high = middle - 1
    return low, files


def mean_bits_per_pixel(files: Sequence[bytes], images: UInt8[Tensor, "n 3 h w"]) -> float:
    """Bits of all files over pixels of all images."""
    return 8 * sum(map(len, files)) / (len(images) * images.shape[2] * images.shape[3])


def decode(files: Sequence[bytes]) -> UInt8[Tensor, "n 3 h w"]:
    """The images in files."""
    return torch.stack([to_tensor(Image.open(io.BytesIO(f)).convert("RGB")) for f in files])


def run_codec(codec: Codec, job: Job) -> Record:
    """Encodes, decodes and judges all test images."""
    started = time.perf_counter()
    images = test_images(job.data.test)
    positions_per_pixel = 1 / job.protocol["downsampling"] ** 2
    target = job.config.rate * positions_per_pixel
    quality, files = encode_at_rate(codec, images, target)
    bits = mean_bits_per_pixel(files, images)
    evaluation = evaluate(
        images,
        decode(files),
        CodebookReport(codebooks=(), joint=None),
        extractor=job.extractor,
        perceptual=job.perceptual,
        device=job.device,
        metrics=job.metrics,
    )
    run = f"{table_name(job.protocol)}-{codec.name}-seed0"
    return Record(
        run=run,
        attempt=next_attempt(job.records, run),
        status="ok",
        reason="",
        protocol=job.protocol,
        quantizer={
            "name": codec.name,
            "hyperparameters": {"quality": quality, **codec.options},
            "operating_point": f"quality={quality}",
            "control": _control(codec, images, bits, target),
        },
        seed=0,
        seeds={},
        rate={"bits_per_position": bits / positions_per_pixel, "bits_per_pixel": bits},
        hashes=judge_hashes(job) | {"test_images": images_sha256(images)},
        timing={"evaluate_seconds": time.perf_counter() - started},
        environment=environment(job.device) | {"device": device_name(job.device)},
        git=git_state(),
        command=job.command,
        **judged_fields(evaluation),
    )


def _control(
    codec: Codec, images: UInt8[Tensor, "n 3 h w"], bits_per_pixel: float, target: float
) -> str:
    """What the row is, and what a file of one colour costs."""
    empty = 8 * len(codec.encode(torch.full_like(images[0], 128), codec.lowest))
    empty_bits = empty / (images.shape[2] * images.shape[3])
    text = "files of Pillow, one an image, all bytes counted"
    if bits_per_pixel > target:
        text += f"; its lowest quality is above the rate of {target:.4g} bits per pixel"
    return f"{text}; a file of one grey image already takes {empty_bits:.4g} bits per pixel"


def _record_codecs(job: Job) -> Outcome:
    table = table_name(job.protocol)
    for codec in CODECS:
        if next_attempt(job.records, f"{table}-{codec.name}-seed0") > 1:
            print(f"{codec.name} in {table}: already there", file=sys.stderr)
        else:
            write_record(job.records, run_codec(codec, job))
    return Outcome(table, "ok", "")


def job(cfg: DictConfig, overrides: Sequence[str]) -> Outcome:
    """One job of a sweep: all codecs at one rate of one table."""
    typed = [override for override in overrides if override != _NO_QUANTIZER]
    return settle(_record_codecs, cfg, command_of("bench.codec", typed))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(
        _run, help=__doc__, defaults={}, arguments=arguments, takes=lambda word: True
    )


def _run(options: Options) -> int:
    for word in options.others:
        key = word.partition("=")[0]
        if key.partition(".")[0] in _NOT_HERE:
            raise UsageError(f"bench.codec has no option {key}=; leave it out")
    from bench.codec import job  # a launcher finds it by name, which `__main__.job` is not

    return run_jobs(job, [[_NO_QUANTIZER, *options.others]])


if __name__ == "__main__":
    sys.exit(main())
