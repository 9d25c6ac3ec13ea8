"""Named random streams: each source of randomness has its own seed.

A stream's seed depends only on the run's seed and the stream's name, so what one part draws never
shifts what another part draws. How much is drawn may depend on the quantizer only in
`init_quantizer` and `quantizer_noise`.
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
    """A 63-bit seed for a named stream; `step` is for streams that draw in every step."""
    if stream not in STREAMS:
        raise ValueError(f"unknown random stream {stream!r}; known: {', '.join(STREAMS)}")
    digest = hashlib.sha256(f"{seed}/{stream}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextmanager
def random_stream(seed: int, stream: str) -> Iterator[None]:
    """Inside, torch's global generators draw from the stream; afterwards they are as before."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(seed, stream))
        yield
