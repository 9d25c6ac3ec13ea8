"""The embedded extractor as a file that anybody can load without this package.

    python -m bench.metrics.scattering_file [folder=DIR]     writes the same bytes again

The file is named after the extractor and has the format safetensors,
https://github.com/huggingface/safetensors. It holds the filters and weights, and under `about` in
its metadata name, version and licence. `bench/metrics/scattering.md` shows how to use it.

The extractor's name hashes the constants of `bench.metrics.scattering`; `SHA256` here hashes the
bytes of the file. The judge takes its tensors from the file, after it has checked this hash and
that the constants give the same tensors bit for bit. So file, code and name cannot drift apart.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from bench.atomic_files import replacing
from bench.command_line import DONE, Options, run_command
from bench.metrics.scattering import VERSION, Scattering, scattering_identity

SHA256: Final = "ee85d6796342bc248e49ab7ce53194b115d00e76ba54feac60b0f1ae2205a276"
_FOLDER: Final = Path(__file__).parent
_MAKE_AGAIN: Final = "python -m bench.metrics.scattering_file"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0, or 2 for a typo or a folder that cannot be written."""
    return run_command(
        _write,
        help=__doc__,
        defaults={"folder": str(_FOLDER)},
        arguments=arguments,
        expected=(OSError,),
    )


def _write(options: Options) -> int:
    path, content = scattering_path(options.folder("folder")), scattering_bytes()
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    print(f"{path}: {len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")
    return DONE


def scattering_path(folder: Path = _FOLDER) -> Path:
    """Where the file lies in a folder, by default in this package."""
    return folder / f"{scattering_identity()}.safetensors"


def scattering_bytes() -> bytes:
    """Content of the file, from the constants of `bench.metrics.scattering`."""
    from safetensors.torch import save

    about = {
        "name": scattering_identity(),
        "version": VERSION,
        "package": "quantizer-zoo",
        "licence": "Apache-2.0",
        "model_card": "scattering.md",
    }
    # a single entry, since the order in which safetensors writes several differs by process
    metadata = {"about": json.dumps(about, sort_keys=True)}
    return save(dict(Scattering().named_buffers()), metadata)


def load_scattering(path: Path | None = None) -> Scattering:
    """The extractor with the tensors of its file.

    Args:
        path: the file; None for the one in this package.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: its bytes were changed, or the code computes other tensors than it holds.
    """
    from safetensors.torch import load

    path = scattering_path() if path is None else path
    if not path.is_file():
        raise FileNotFoundError(
            f"the file of the embedded extractor is not at {path}; install the package again, or "
            f"type {_MAKE_AGAIN}"
        )
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != SHA256:
        raise ValueError(
            f"{path} is damaged or another file: its SHA-256 is {sha256}, expected {SHA256}; "
            f"install the package again, or type {_MAKE_AGAIN}"
        )
    tensors, network = load(content), Scattering()
    for name, computed in list(network.named_buffers()):
        if not torch.equal(tensors[name], computed):
            raise ValueError(
                f"bench/metrics/scattering.py computes other {name} than {path} holds; type "
                f"{_MAKE_AGAIN} and put the SHA-256 that it prints into {Path(__file__).name}"
            )
        setattr(network, name, tensors[name])
    return network


if __name__ == "__main__":
    sys.exit(main())
