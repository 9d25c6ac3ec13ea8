"""Named random streams: every use of chance has a seed of its own.

A stream's seed depends on the run's seed and the stream's name alone, so what one part draws can
never shift what another part sees. Only `init_quantizer` and `quantizer_noise` may be consumed in
an amount that depends on the quantizer.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

STREAMS = (
    "init_frame",
    "init_discriminator",
    "init_quantizer",
    "data",
    "augment",
    "quantizer_noise",
    "eval",
)


def stream_seed(seed: int, stream: str, step: int = 0) -> int:
    """A 63-bit seed for a named stream, at a step where the stream is drawn from in every step."""
    if stream not in STREAMS:
        raise ValueError(f"unknown random stream {stream!r}; known: {', '.join(STREAMS)}")
    digest = hashlib.sha256(f"{seed}/{stream}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextmanager
def seeded(seed: int, stream: str) -> Iterator[None]:
    """Draws from torch's global generators inside come from the stream; outside nothing moves."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(seed, stream))
        yield
