"""Which feature extractor a Frechet distance can use on this machine.

- `inception`: the Inception v3 of the original FID (TensorFlow graph of 2015-12-05, as converted by
  torch-fidelity), from a local file whose hash is checked. The distance is then rFID.
- `scattering`: the embedded extractor of `bench.metrics.scattering`, always at hand. The distance
  is a proxy with a key of its own, and the two never share a table.

Nothing is ever downloaded.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.metrics.scattering import DIMENSION, VERSION, scattering_identity
from models.weights import INCEPTION


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
    if name == "scattering" or (name == "auto" and not INCEPTION.path.is_file()):
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
            identity=f"inception-v3-compat-{INCEPTION.sha256[:8]}",
            label=f"Inception v3 (2015-12-05, SHA-256 {INCEPTION.sha256[:8]}), torch-fidelity",
            metric_key="rfid",
            dimension=2048,
            weights=INCEPTION.checked_path(
                otherwise="choose the extractor 'scattering', which needs none but is not rFID"
            ),
        )
    raise ValueError(f"unknown extractor {name!r}; known: auto, inception, scattering")
