"""The judge for anybody's reconstructions: two folders, tensors, or a function.

    python -m bench.score reference=DIR reconstruction=DIR [indices=FILE.npy codebook_sizes=8,8]
                          [metrics=...] [extractor=auto] [perceptual=auto] [device=cpu]
                          [plugins=my_module] [output=scores]

Files pair by name and are read in batches, so a folder may hold any number of them. The command
prints a table and writes it to `output=scores`, with a record as JSON: the numbers, the values of
every image, and what was judged, by which code and where. PSNR, SSIM, L1, the perceptual distance,
and FD and KID of the extractor are always computed. Others on request, separated by commas:

    metrics=ms_ssim                   images of at least 176 px
    metrics=pooled_psnr_db            PSNR of the error of all images together
    metrics=sfid                      FD of spatial features of Inception
    metrics=precision,recall          improved precision and recall, 3 neighbours
    metrics=fd_infinity               FD extrapolated; needs 4 images for each feature
    metrics=fd:NAME,kid:NAME          features of another extractor; also precision:NAME and so on

NAME and `extractor=` are inception, inception-spatial, scattering, vgg16, dinov2-vit-s-14 (b, l,
g), clip-vit-b-32 and the other CLIP of torch-fidelity, from files that `python -m bench.weights`
lists. `perceptual=` is lpips_alex, lpips_vgg, lpips_rand or none. `device=cuda` moves the networks.
`plugins=` imports modules that register further metrics, extractors and perceptual distances.

From Python: `bench.score.score` and `bench.score.score_function`.
"""

import hashlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.atomic_files import write_text
from bench.command_line import DONE, Options, UsageError, run_command, whole_number
from bench.conf import plugins
from bench.data import DataError
from bench.evaluate import PIXELS_PER_BATCH, Pairs
from bench.score.image_pairs import ImagePairs
from bench.score.judge import build_judge
from bench.score.record import format_record, format_table, provenance
from bench.score.tensors import count_codes

_DEFAULTS = {
    "reference": "",
    "reconstruction": "",
    "indices": "",
    "codebook_sizes": "",
    "metrics": "",
    "plugins": "",
    "extractor": "auto",
    "perceptual": "auto",
    "device": "cpu",
    "output": "scores",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0, or 2 with one message and nothing written for bad input."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(
        lambda options: _judge(options, f"python -m bench.score {shlex.join(words)}"),
        help=__doc__,
        defaults=_DEFAULTS,
        arguments=words,
        expected=(DataError, TypeError, ValueError, OSError),
    )


def _judge(options: Options, command: str) -> int:
    for name in ("reference", "reconstruction"):
        if not options[name]:
            raise UsageError(f"{name}=DIR is missing: the folder of {name} images")
    output = options.folder("output")
    if output.exists() and not output.is_dir():
        raise UsageError(f"output={output} is a file; expected a folder, which may be new")
    plugins.load(options.listed("plugins"))
    pairs = ImagePairs(options.folder("reference"), options.folder("reconstruction"))
    sizes = [whole_number("codebook_sizes", size) for size in options.listed("codebook_sizes")]
    indices = _read_array(options.folder("indices")) if options["indices"] else None
    codebooks = count_codes(indices, sizes, images=len(pairs))
    judge = build_judge(
        extractor=options["extractor"],
        perceptual=options["perceptual"],
        metrics=options.listed("metrics"),
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
    return DONE


def _hashed(pairs: Pairs, digests: tuple["hashlib._Hash", "hashlib._Hash"]) -> Pairs:
    """Passes batches on and adds their pixels to the hashes of both sides."""
    for batch in pairs:
        for digest, images in zip(digests, batch, strict=True):
            digest.update(images.numpy().tobytes())
        yield batch


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
    sys.exit(main())
