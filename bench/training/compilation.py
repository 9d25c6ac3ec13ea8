"""The option `compile=true`: what torch.compile gets, what it costs, and whether it works here.

Encoder, decoder, discriminator and perceptual loss are compiled. The bottleneck is not: so every
quantizer is treated the same, and a latent that is not finite still ends a run with its reason,
which compiled code could not give. The averaged weights are judged without compilation.
"""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from bench.command_line import UsageError
from bench.training.networks import Modules


def compile_frame(modules: Modules) -> None:
    """Compiles in place, so checkpoints keep their names; the first call does the work.

    Shapes are those of the recipe. A part that torch cannot compile as a whole is an error. Code of
    earlier runs in this process is dropped: torch keeps only a few versions, and so every run pays
    for its own compilation.
    """
    torch.compiler.reset()
    autoencoder = modules.autoencoder
    parts = (autoencoder.encoder, autoencoder.decoder, modules.discriminator, modules.perceptual)
    for part in parts:
        if part:
            part.compile(dynamic=False, fullgraph=True)


@contextmanager
def compile_events(*, start: Callable[[], None], end: Callable[[], None]) -> Iterator[None]:
    """A context that calls `start` before every compilation in this process and `end` after it."""
    from torch._dynamo.callback import callback_handler  # loads the compiler: a second

    started, ended = (lambda _: start()), (lambda _: end())
    callback_handler.register_start_callback(started)
    callback_handler.register_end_callback(ended)
    try:
        yield
    finally:
        callback_handler.remove_start_callback(started)
        callback_handler.remove_end_callback(ended)


@functools.cache
def check_compiler(device: torch.device) -> None:
    """Compiles something small, so that a machine that cannot compile says so before a run.

    Raises:
        UsageError: torch.compile fails here, e.g. without a compiler or, on CUDA, without Triton.
    """
    number = time.time()  # makes the code new, so that no cache has it
    try:
        torch.compile(lambda x: x * number + 1, dynamic=False)(torch.ones(8, device=device))
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "no message")
        needed = "a C++ compiler" if device.type == "cpu" else "a C compiler and Triton"
        raise UsageError(
            f"compile=true needs {needed}, and torch.compile fails here: "
            f"{type(error).__name__}: {reason.strip()}; install it, or type compile=false"
        ) from error
