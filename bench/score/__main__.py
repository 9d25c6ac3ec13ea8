"""The judge for anybody's reconstructions: two folders, or tensors, or a function.

    python -m bench.score reference=DIR reconstruction=DIR [indices=FILE.npy codebook_sizes=8,8]
                          [metrics=...] [extractor=auto] [perceptual=auto] [device=cpu]
                          [output=scores]

Files pair by name and are read in batches, so that a folder may hold any number. Prints a table and
writes it to `output=scores` with a record as JSON: the numbers, the values of every image, what
they were computed of, by which code and where. Always: PSNR, SSIM, L1, the perceptual distance, FD
and KID of the extractor. On request, with commas:

    metrics=ms_ssim                   images of at least 176 px
    metrics=pooled_psnr_db            PSNR of the error of all images together
    metrics=sfid                      FD of spatial features of Inception
    metrics=precision,recall          improved precision and recall, 3 neighbours
    metrics=fd_infinity               FD extrapolated; 4 times as many images as features
    metrics=fd:NAME,kid:NAME          features of another extractor; also precision:NAME and so on

NAME, and `extractor=`: inception, inception-spatial, scattering, vgg16, dinov2-vit-s-14 (b, l, g),
clip-vit-b-32 and the other CLIP of torch-fidelity, from files that `python -m bench.weights` lists.
`perceptual=` is lpips_alex, lpips_vgg, lpips_rand or none. `device=cuda` moves the networks.

From Python: `bench.score.score` and `bench.score.score_function`.
"""

import hashlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.atomic_files import write_text
from bench.data import DataError
from bench.score.image_pairs import ImagePairs
from bench.score.judge import PIXELS_PER_BATCH, Pairs, build_judge
from bench.score.record import format_record, format_table, provenance
from bench.score.tensors import count_codes

_DEFAULTS = {
    "reference": "",
    "reconstruction": "",
    "indices": "",
    "codebook_sizes": "",
    "metrics": "",
    "extractor": "auto",
    "perceptual": "auto",
    "device": "cpu",
    "output": "scores",
}


def main(arguments: Sequence[str]) -> int:
    """The command; returns 0, or 2 with one message and nothing written for bad input."""
    if any(argument in ("-h", "--help") for argument in arguments):
        print(__doc__)
        return 0
    try:
        _judge(_parse(arguments), f"python -m bench.score {shlex.join(arguments)}")
    except (DataError, TypeError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _judge(options: Mapping[str, str], command: str) -> None:
    output = Path(options["output"])
    if output.exists() and not output.is_dir():
        raise ValueError(f"output={output} is a file; expected a folder, which may be new")
    pairs = ImagePairs(Path(options["reference"]), Path(options["reconstruction"]))
    codebooks = count_codes(*_read_indices(options), images=len(pairs))
    judge = build_judge(
        extractor=options["extractor"],
        perceptual=options["perceptual"],
        metrics=_split(options["metrics"]),
        device=options["device"],
    )
    digests = hashlib.sha256(), hashlib.sha256()
    batches = _hashed(pairs.batches(pixels=PIXELS_PER_BATCH), digests)
    evaluation = judge.evaluate(batches, images=len(pairs), codebooks=codebooks)
    facts = provenance(
        judge,
        reference=options["reference"],
        reconstruction=options["reconstruction"],
        images=len(pairs),
        reference_sha256=digests[0].hexdigest(),
        reconstruction_sha256=digests[1].hexdigest(),
        command=command,
    )
    stem = output / facts["identity"]
    table = format_table(evaluation, facts)
    write_text(stem.with_suffix(".json"), format_record(evaluation, facts))
    write_text(stem.with_suffix(".md"), table)
    print(table)
    print(f"written to {stem}.md and {stem}.json")


def _hashed(pairs: Pairs, digests: tuple["hashlib._Hash", "hashlib._Hash"]) -> Pairs:
    """Passes batches on and takes their pixels into the hashes of both sides."""
    for batch in pairs:
        for digest, images in zip(digests, batch, strict=True):
            digest.update(images.numpy().tobytes())
        yield batch


def _parse(arguments: Sequence[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key not in _DEFAULTS or not equals or not value or key in options:
            known = " ".join(f"{name}=..." for name in _DEFAULTS)
            raise ValueError(f"got {argument!r}; known, once each: {known}")
        options[key] = value
    for name in ("reference", "reconstruction"):
        if name not in options:
            raise ValueError(f"{name}=DIR is missing: the folder of {name} images")
    return _DEFAULTS | options


def _split(value: str) -> list[str]:
    return value.split(",") if value else []


def _read_indices(options: Mapping[str, str]) -> tuple[Tensor | None, list[int]]:
    sizes = options["codebook_sizes"]
    try:
        codebook_sizes = [int(size) for size in _split(sizes)]
    except ValueError:
        raise ValueError(f"codebook_sizes are integers with commas, got {sizes!r}") from None
    if not options["indices"]:
        return None, codebook_sizes
    return _read_array(Path(options["indices"])), codebook_sizes


def _read_array(path: Path) -> Tensor:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path} is not a whole .npy file of integers; write it with numpy.save ({error})"
        ) from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} is an archive of arrays; write one array with numpy.save")
    if array.ndim < 2 or array.dtype.kind not in "iu":
        raise ValueError(
            f"{path} must hold integers of shape (images, codebooks, ...), got "
            f"{array.dtype} of shape {array.shape}"
        )
    return torch.from_numpy(array.astype(np.int64))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
