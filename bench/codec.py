"""Image codecs as controls: JPEG and WebP at the bits per pixel of a table.

    python -m bench.codec [rate=8,10] [recipe=tiny] [other options of bench.run]

Of these, `quantizer`, `seed`, `plugins` and `study` have no meaning here and are refused.

Takes the test images and the judge of the table that `bench.run` makes from the same options, and
adds two rows to it. Every image is a file of its own, written by Pillow, and all of its bytes
count, headers included. One quality serves all images: the highest whose mean size meets the rate.
Where even the lowest is above the rate, as for JPEG on small images, the row shows that quality
with its true rate. Nothing is trained.
"""

import io
import itertools
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from jaxtyping import UInt8
from omegaconf.errors import OmegaConfBaseException
from PIL import Image
from torch import Tensor

from bench.conf.compose import explain
from bench.conf.schema import ConfigError, parse, register_schema
from bench.data import DataError, test_images
from bench.data.base import to_tensor
from bench.evaluate import evaluate
from bench.jobs.judging import images_sha256, judge_hashes, judged_fields
from bench.jobs.prepare import Job, prepare
from bench.leaderboard import build, show
from bench.metrics import CodebookReport
from bench.provenance import device_name, environment, git_state
from bench.record import Record, next_attempt, table_name, write_record

_CONF = str(Path(__file__).resolve().parent / "conf")
_NOT_HERE = ("quantizer", "seed", "plugins", "study")


@dataclass(frozen=True)
class Codec:
    """One format of Pillow.

    Attributes:
        name: what tables and Pillow call it.
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
    """The highest quality whose mean size meets a rate, or else the lowest; and all files.

    Found by bisection, since size grows with quality.
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
    """The pictures of some files."""
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
    """What the row is, and what a file without content costs."""
    empty = 8 * len(codec.encode(torch.full_like(images[0], 128), codec.lowest))
    empty_bits = empty / (images.shape[2] * images.shape[3])
    text = "files of Pillow, one an image, all bytes counted"
    if bits_per_pixel > target:
        text += f"; its lowest quality is above the rate of {target:.4g} bits per pixel"
    return f"{text}; a file of one grey image already takes {empty_bits:.4g} bits per pixel"


def _jobs(arguments: Sequence[str]) -> Iterator[Job]:
    """One job for each combination of the options' values."""
    for argument in arguments:
        if argument.partition("=")[0].partition(".")[0] in _NOT_HERE:
            raise ConfigError(f"bench.codec knows no {argument.partition('=')[0]}=; leave it out")
    choices = [
        [f"{override.key_or_group}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [str(override.input_line)]
        for override in OverridesParser.create().parse_overrides(list(arguments))
    ]
    with initialize_config_dir(_CONF, version_base="1.3"):
        for overrides in itertools.product(*choices):
            cfg = compose("config", overrides=["quantizer=none", *overrides])
            kept = [o for o in overrides if not o.startswith(("runs=", "leaderboards="))]
            yield prepare(parse(cfg), shlex.join(["python", "-m", "bench.codec", *kept]))


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    if any(argument in ("-h", "--help") for argument in arguments):
        print(__doc__)
        return 0
    register_schema()
    touched: dict[Path, list[str]] = {}
    try:
        for job in _jobs(arguments):
            table = table_name(job.protocol)
            for codec in CODECS:
                if next_attempt(job.records, f"{table}-{codec.name}-seed0") > 1:
                    print(f"{codec.name} in {table}: already there", file=sys.stderr)
                else:
                    write_record(job.records, run_codec(codec, job))
            touched.setdefault(job.records.parent, []).append(table)
    except (HydraException, OmegaConfBaseException, ConfigError) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 2
    except (DataError, FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for folder, names in touched.items():
        for line in build(folder)[1]:
            print(line, file=sys.stderr)
        show(folder, names)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
