"""A feature extractor as the judge uses it: uint8 images in, one row of features an image out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from bench.metrics.pixels import check_images

_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A feature extractor that can be used on this machine.

    Attributes:
        name: under which it is registered.
        identity: name with version and hash, for records: equal identities, equal features.
        label: for people, under tables.
        build: makes the network: uint8 images (b, 3, h, w) to features (b, d). Called each time
            that features are needed, so that waiting runs hold no network.
        metric_key: key of the Frechet distance in records; by default `fd_` and the name. Only
            Inception's is `rfid`.
        weights: local file of the weights, or None where there are none.
    """

    name: str
    identity: str
    label: str
    build: Callable[[], nn.Module] = field(repr=False, compare=False)
    metric_key: str = ""
    weights: Path | None = None

    def __post_init__(self) -> None:
        if not self.metric_key:
            object.__setattr__(self, "metric_key", f"fd_{self._name}")

    def key(self, metric: str) -> str:
        """Key in records of a metric of these features: `kid`, `fd_vgg16`, `precision_clip_rn50`.

        Only Inception has no suffix; its Frechet distances are `rfid` and `rfid_infinity`.
        """
        if metric == "fd":
            return self.metric_key
        if self.metric_key == "rfid":
            return metric.replace("fd", "rfid")
        own = self.metric_key.startswith("fd_")
        return f"{metric}_{self.metric_key.removeprefix('fd_') if own else self._name}"

    def open(
        self, device: torch.device | str
    ) -> Callable[[UInt8[Tensor, "n 3 h w"]], Float[Tensor, "n d"]]:
        """Builds the network; returns a function that computes features on the CPU.

        Batch size and device change features by rounding only. The function raises TypeError or
        ValueError for anything but a uint8 stack of images that are large enough.

        Raises:
            ValueError: another device than a CPU or a CUDA device that torch sees.
        """
        device = checked_device(device)
        with _full_float32(device):
            network = self.build().to(device).eval()

        def features(images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
            check_images(images, "given")
            with _full_float32(device), torch.no_grad():
                batches = [network(batch.to(device)).cpu() for batch in images.split(_BATCH)]
            rows = torch.cat(batches)
            if rows.ndim != 2 or len(rows) != len(images):
                raise ValueError(
                    f"extractor {self.name} must give features of shape ({len(images)}, d), got "
                    f"{tuple(rows.shape)}"
                )
            return rows

        return features

    @property
    def _name(self) -> str:
        return self.name.replace("-", "_")


def checked_device(name: torch.device | str) -> torch.device:
    """A device on which features can be computed.

    Raises:
        ValueError: it is neither a CPU nor a CUDA device that torch sees.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"features are computed on 'cpu' or 'cuda', got device {str(name)!r}")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"got device {str(device)!r}, but torch sees no CUDA device; use 'cpu'")
    return device


@contextmanager
def _full_float32(device: torch.device) -> Iterator[None]:
    """Isolates features from the caller's autocast, TensorFloat-32 and random stream."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.cuda.device(device) if device.type == "cuda" else nullcontext(),
            torch.random.fork_rng(devices=[]),
            torch.autocast(device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
