"""Which feature extractor a Frechet distance can use on this machine.

- `inception`: the Inception v3 of the original FID (TensorFlow graph of 2015-12-05, as converted by
  torch-fidelity), from a local file whose hash is checked. The distance is then rFID.
- `scattering`: the embedded extractor of `bench.metrics.scattering`, always at hand. The distance
  is a proxy with a key of its own, and the two never share a table.

Nothing is ever downloaded.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from bench.metrics.scattering import DIMENSION, VERSION, scattering_identity

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256_PREFIX = "6726825d"
INCEPTION_URL = (
    f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILE}"
)


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A feature extractor that can be used here and now.

    Attributes:
        name: `inception` or `scattering`.
        identity: name with version and hash, for records: equal identities, equal features.
        label: for people, under tables.
        metric_key: key of the Frechet distance in records; `rfid` for Inception alone.
        dimension: features per image. Covariances are singular with fewer images than this.
        weights: local file of the weights, or None where there are none.
    """

    name: Literal["inception", "scattering"]
    identity: str
    label: str
    metric_key: str
    dimension: int
    weights: Path | None


def choose_extractor(name: str) -> Extractor:
    """Finds an extractor by name; `auto` is Inception where its file lies, scattering elsewhere.

    Raises:
        FileNotFoundError: `inception` was asked for and its weights are not on this machine.
        ValueError: unknown name, or the file of the weights is damaged (also for `auto`: a damaged
            file must not silently change the metric).
    """
    if name == "scattering" or (name == "auto" and not _inception_path().is_file()):
        return Extractor(
            name="scattering",
            identity=scattering_identity(),
            label="a proxy: scattering features, embedded in this package, not Inception",
            metric_key=f"fd_scattering_v{VERSION}",
            dimension=DIMENSION,
            weights=None,
        )
    if name in ("inception", "auto"):
        return Extractor(
            name="inception",
            identity=f"inception-v3-compat-{INCEPTION_SHA256_PREFIX}",
            label=f"Inception v3 (2015-12-05, SHA-256 {INCEPTION_SHA256_PREFIX}), torch-fidelity",
            metric_key="rfid",
            dimension=2048,
            weights=_checked_inception_weights(),
        )
    raise ValueError(f"unknown extractor {name!r}; known: auto, inception, scattering")


def _inception_path() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE


def _checked_inception_weights() -> Path:
    """Path of the weights after a check of their hash: the file is a pickle and must be trusted."""
    path = _inception_path()
    if not path.is_file():
        raise FileNotFoundError(
            f"Inception weights are not at {path}; get them once with\n"
            f"  curl --create-dirs -Lo {path} {INCEPTION_URL}\n"
            "or choose the extractor 'scattering', which needs no weights but is not rFID"
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(INCEPTION_SHA256_PREFIX):
        raise ValueError(
            f"{path} is damaged or another file: its SHA-256 is {digest}, expected one that starts "
            f"with {INCEPTION_SHA256_PREFIX}; delete it and get it again from {INCEPTION_URL}"
        )
    return path
