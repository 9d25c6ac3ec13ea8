"""The judge for anybody's reconstructions: two folders, or tensors, or a function.

    python -m bench.score reference=DIR reconstruction=DIR [indices=FILE.npy codebook_sizes=8,8]
                                [extractor=auto] [perceptual=auto] [output=scores]

Files pair by name. Prints a table and writes it to `output=scores` with a record as JSON: the
numbers, the values of every image, what they were computed of, by which code and where. In Python:

    score(images, reconstruction)                   uint8 tensors of shape (n, 3, h, w)
    score_function(reconstruct, images)             reconstruct maps [-1, 1] to [-1, 1], in batches
"""

import hashlib
import json
import math
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from bench.data import DataError
from bench.environment import environment, git_state
from bench.evaluate import Evaluation, choose_perceptual_metric, evaluate
from bench.evaluation_code import evaluation_code_sha256
from bench.files import write_text
from bench.image_pairs import read_pairs
from bench.metrics import CodebookStatistics, choose_extractor, to_float, to_uint8

_OPTIONS = (
    "reference",
    "reconstruction",
    "indices",
    "codebook_sizes",
    "extractor",
    "perceptual",
    "output",
)
_BATCH = 16


def score(
    images: UInt8[Tensor, "n 3 h w"],
    reconstruction: UInt8[Tensor, "n 3 h w"],
    *,
    indices: Int[Tensor, "m k *spatial"] | None = None,
    codebook_sizes: Sequence[int] = (),
    extractor: str = "auto",
    perceptual: str = "auto",
) -> Evaluation:
    """Scores reconstructions against their originals, on the CPU.

    Args:
        images: originals.
        reconstruction: in the same order.
        indices: of the codes behind the reconstructions, if codebooks are to be judged too.
        codebook_sizes: codes in each codebook; as many as `indices` has.
        extractor: as `choose_extractor`.
        perceptual: as `choose_perceptual_metric`.

    Raises:
        TypeError, ValueError: not two equal uint8 stacks of at least 2 images, or indices of
            another number, type or range.
        FileNotFoundError: weights that were asked for are not on this machine.
    """
    if len(images) < 2:
        raise ValueError(f"distances between sets need at least 2 images, got {len(images)}")
    statistics = CodebookStatistics(codebook_sizes)
    if (indices is None) != (not codebook_sizes):
        raise ValueError("indices and codebook_sizes are given together, or neither")
    if indices is not None:
        if len(indices) != len(images):
            raise ValueError(f"got indices of {len(indices)} images for {len(images)} images")
        statistics.add(indices)
    return evaluate(
        images,
        reconstruction,
        statistics.result(),
        extractor=choose_extractor(extractor),
        perceptual=choose_perceptual_metric(perceptual),
        device=torch.device("cpu"),
    )


def score_function(
    reconstruct: Callable[[Float[Tensor, "b 3 h w"]], Float[Tensor, "b 3 h w"]],
    images: UInt8[Tensor, "n 3 h w"],
    *,
    extractor: str = "auto",
    perceptual: str = "auto",
) -> Evaluation:
    """Scores what a function makes of images in [-1, 1]; its result is rounded to bytes.

    Raises:
        TypeError, ValueError, FileNotFoundError: as `score`.
    """
    with torch.inference_mode():
        batches = [to_uint8(reconstruct(to_float(part)).cpu()) for part in images.split(_BATCH)]
    return score(images, torch.cat(batches), extractor=extractor, perceptual=perceptual)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0, or 2 with one message and nothing written for bad input."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if any(argument in ("-h", "--help") for argument in arguments):
        print(__doc__)
        return 0
    try:
        options = _parse(arguments)
        images, reconstruction, _ = read_pairs(
            Path(options["reference"]), Path(options["reconstruction"])
        )
        indices, sizes = _read_indices(options)
        evaluation = score(
            images,
            reconstruction,
            indices=indices,
            codebook_sizes=sizes,
            extractor=options.get("extractor", "auto"),
            perceptual=options.get("perceptual", "auto"),
        )
    except (DataError, TypeError, ValueError, OSError, EOFError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    facts = _facts(images, reconstruction, options, shlex.join(arguments))
    table = format_table(evaluation, len(images), facts)
    stem = Path(options.get("output", "scores")) / facts["identity"]
    record = {**facts, **_numbers(evaluation)}
    write_text(stem.with_suffix(".json"), json.dumps(_finite(record), indent=1) + "\n")
    write_text(stem.with_suffix(".md"), table)
    print(table)
    print(f"written to {stem}.md and {stem}.json")
    return 0


def format_table(evaluation: Evaluation, images: int, facts: Mapping[str, Any]) -> str:
    """The scores in Markdown, with what they were computed of."""
    rows = [f"| {name} | {value:.6g} |" for name, value in evaluation.metrics.items()]
    codebooks = evaluation.codebooks
    rows += [
        f"| {name} | {value:.6g} |"
        for name, value in {
            "usage": codebooks.mean_usage,
            "usage ceiling": codebooks.mean_usage_ceiling,
            "perplexity": codebooks.perplexity,
            "bits per position, Miller-Madow": codebooks.miller_madow_entropy_bits,
            "joint bits per position": codebooks.joint_entropy_bits,
        }.items()
        if value is not None
    ]
    lines = [f"# {facts['reconstruction']}", "", "| metric | value |", "|:--|--:|", *rows, ""]
    lines += [
        f"- {images} images, originals in {facts['reference']}",
        f"- extractor `{facts['extractor']}`, perceptual metric `{facts['perceptual']}`",
        f"- judge's code SHA-256 `{facts['evaluation_code_sha256'][:16]}`",
        f"- `{facts['command']}`",
        "",
    ]
    return "\n".join(lines)


def _parse(arguments: Sequence[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key not in _OPTIONS or not equals or not value or key in options:
            known = " ".join(f"{name}=..." for name in _OPTIONS)
            raise ValueError(f"got {argument!r}; known, once each: {known}")
        options[key] = value
    for name in ("reference", "reconstruction"):
        if name not in options:
            raise ValueError(f"{name}=DIR is missing: the folder of {name} images")
    return options


def _read_indices(options: Mapping[str, str]) -> tuple[Tensor | None, list[int]]:
    sizes = options.get("codebook_sizes", "")
    try:
        codebook_sizes = [int(size) for size in sizes.split(",")] if sizes else []
    except ValueError:
        raise ValueError(f"codebook_sizes are integers with commas, got {sizes!r}") from None
    if "indices" not in options:
        return None, codebook_sizes
    array = np.load(options["indices"], allow_pickle=False)
    if array.ndim < 2 or array.dtype.kind not in "iu":
        raise ValueError(
            f"{options['indices']} must hold integers of shape (images, codebooks, ...), got "
            f"{array.dtype} of shape {array.shape}"
        )
    return torch.from_numpy(array.astype(np.int64)), codebook_sizes


def _facts(
    images: Tensor, reconstruction: Tensor, options: Mapping[str, str], arguments: str
) -> dict[str, Any]:
    """What was judged, by which code and where."""
    perceptual = choose_perceptual_metric(options.get("perceptual", "auto"))
    facts: dict[str, Any] = {
        "reference": options["reference"],
        "reconstruction": options["reconstruction"],
        "images": len(images),
        "reference_sha256": hashlib.sha256(images.numpy().tobytes()).hexdigest(),
        "reconstruction_sha256": hashlib.sha256(reconstruction.numpy().tobytes()).hexdigest(),
        "extractor": choose_extractor(options.get("extractor", "auto")).identity,
        "perceptual": perceptual.identity if perceptual else "none",
        "evaluation_code_sha256": evaluation_code_sha256(),
        "command": f"python -m bench.score {arguments}",
    }
    identity = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    environment_facts = environment(torch.device("cpu"))
    return {"identity": identity, **facts, "environment": environment_facts, "git": git_state()}


def _numbers(evaluation: Evaluation) -> dict[str, Any]:
    codebooks = [
        {
            "codebook_size": use.codebook_size,
            "tokens": use.tokens,
            "used_codes": use.used_codes,
            "usage_ceiling": use.usage_ceiling,
            "entropy_bits": use.entropy_bits,
            "miller_madow_entropy_bits": use.miller_madow_entropy_bits,
        }
        for use in evaluation.codebooks.codebooks
    ]
    return {
        "metrics": evaluation.metrics,
        "per_image": evaluation.per_image,
        "leave_group_out": evaluation.leave_group_out,
        "codebooks": codebooks,
    }


def _finite(value: Any) -> Any:
    """JSON has no infinity: it becomes null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


if __name__ == "__main__":
    sys.exit(main())
