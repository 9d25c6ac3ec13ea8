"""Section "Whole quantizers": a training pass of every method that has a counterpart elsewhere."""

import functools
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.speed.comparison import Grid, Measurement, check_memory, measure
from bench.speed.counterparts import METHODS, Pair, pair_of
from bench.speed.page import Call, MakeCall, Section, Target, duration, times
from bench.speed.peers import OURS, PEER
from bench.speed.steps import our_pass
from bench.training.interrupt import StopRequest
from quantizers import build

_TEXT = """Forward and backward of {tokens:,} tokens in training mode, for codebooks of V codes (in
each group or stage, where there are two), beside {peer} at equal settings and weights. `indices`:
how many agree; near a tie float32 may round either way. The least that any method of ours takes,
the pass of `none`: {floor}."""

_IMAGES, _SIDE = 32, 8
_TARGETED = ("gsq", "vq", "fsq", "lfq")
_EQUAL_SHARE = 0.999  # the rest are ties within float32


class Size(NamedTuple):
    """Bits of a code, method."""

    bits: int
    name: str

    def __str__(self) -> str:
        return f"{self.name}, V=2^{self.bits}"


_SIZES = [Size(bits, name) for bits in (10, 13, 16) for name in METHODS]
GRIDS = {
    "small": Grid(_SIZES[: 2 * len(METHODS)], rounds=9, size_seconds=1.0, seconds=60.0),
    "full": Grid(_SIZES, rounds=15, size_seconds=10.0, seconds=300.0),
}


def section(grid: Grid[Size], device: torch.device, stop: StopRequest) -> Section:
    """The whole section; one line without the other library."""
    title, rows, ratios, calls = "Whole quantizers", [], {}, {}
    tokens = _IMAGES * _SIDE**2
    text = _TEXT.format(tokens=tokens, peer=PEER, floor=duration(_floor(grid, device)))
    try:
        for bits, name in grid.within("methods", stop):
            pair = pair_of(name, bits, device)
            measured = compare(pair, bits, grid, device)
            rows.append(_row(bits, name, pair, measured))
            if name in _TARGETED and bits >= 13:
                label = f"{name}, V={2**bits:,}"
                ratios[label] = speedup(pair, measured)
                calls[label] = functools.partial(_make_call, pair, device)
    except ImportError:
        return Section(title, f"{PEER} is not installed.")
    what = f"{', '.join(_TARGETED)}: 3 times as fast as {PEER} at V >= 8,192, indices equal"
    target = Target.of(what, ratios, times, at_least=3.0, calls=calls)
    return Section(title, text + grid.left_out(len(rows)), rows, [target])


def compare(
    pair: Pair, bits: int, grid: Grid[Size], device: torch.device
) -> dict[str, Measurement]:
    """Ours and theirs on the same latents, with the same gradient of what comes out."""

    def make_their_call() -> Call:
        check_memory(pair.copies * _IMAGES * _SIDE**2 * 2**bits * 4, device)
        return their_pass(pair.theirs, *_drawn(pair, device))

    make_our_call = functools.partial(_make_call, pair, device)
    contenders: dict[str, MakeCall] = {OURS: make_our_call, PEER: make_their_call}
    # the first call of a module builds, imports and compiles
    return measure(contenders, grid, device, warm_up=1)


def equal_tokens(pair: Pair, measured: dict[str, Measurement]) -> int | None:
    """Tokens whose indices agree; None where they need not, or one side did not run."""
    if not (pair.comparable and measured[OURS].seconds and measured[PEER].seconds):
        return None
    return int((measured[OURS].results[0] == measured[PEER].results[0]).all(dim=1).sum())


def speedup(pair: Pair, measured: dict[str, Measurement]) -> float | None:
    """Times faster than theirs, 0 where the indices differ; None where theirs did not run."""
    if not measured[PEER].seconds:
        return None
    equal = (equal_tokens(pair, measured) or 0) >= _EQUAL_SHARE * _IMAGES * _SIDE**2
    return measured[PEER].median / measured[OURS].median if equal else 0.0


def their_pass(module: nn.Module, latents: Tensor, upstream: Tensor) -> Call:
    """The same numbers with the channel last, as that library has them."""
    z = latents.flatten(2).mT.contiguous().requires_grad_()
    upstream = upstream.flatten(2).mT.contiguous()

    def call() -> Tensor:
        z.grad = None
        module.zero_grad(set_to_none=True)
        quantized, indices, *losses = module(z)
        loss = (quantized * upstream).sum()
        sum((term.sum() for term in losses), loss).backward()
        return indices.reshape(z.shape[0] * z.shape[1], -1).long()

    return call


def _drawn(pair: Pair, device: torch.device) -> tuple[Tensor, Tensor]:
    """Latents, and the gradient of what comes out."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, _IMAGES, pair.ours.latent_channels, _SIDE, _SIDE)
    latents, upstream = torch.randn(shape, generator=generator).to(device)
    return latents, upstream


def _floor(grid: Grid[Size], device: torch.device) -> float:
    """Seconds of a pass that quantizes nothing: the check of the latent, autograd and the sum."""
    none = build("none", latent_channels=8).train()
    make_call = functools.partial(_make_call, Pair(none, none, copies=0), device)
    return measure({"none": make_call}, grid, device)["none"].median


def _make_call(pair: Pair, device: torch.device) -> Call:
    """Our pass of a pair, as it is timed."""
    return our_pass(pair.ours, *_drawn(pair, device), update=pair.updates)


def _row(bits: int, name: str, pair: Pair, measured: dict[str, Measurement]) -> dict[str, str]:
    ours, theirs, equal = measured[OURS], measured[PEER], equal_tokens(pair, measured)
    return {
        "method": f"`{name}`",
        "V": f"{2**bits:,}",
        **{side: str(cell) for side, cell in measured.items()},
        "times faster": f"{theirs.median / ours.median:.1f}" if theirs.seconds else "-",
        "indices": "-" if equal is None else f"{equal:,} of {_IMAGES * _SIDE**2:,}",
        "note": pair.note,
    }
