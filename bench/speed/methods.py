"""A training pass, forward and backward, of every method that has a counterpart elsewhere."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor, nn

from bench.speed.counterparts import Pair, pairs
from bench.speed.memory import memory_limit, with_extra_peak
from bench.speed.page import Section, duration, megabytes, say
from bench.speed.peers import PEER
from bench.speed.targets import SetOut, Target, at_least, times
from bench.speed.timing import LONG_SECONDS, Times, interleaved, left_out, within
from bench.training.interrupt import StopRequest
from quantizers import Quantizer, build

_TEXT = """Forward and backward of {tokens:,} tokens in training mode, for codebooks of V codes (of
each group or stage, where there are two), beside {peer} at equal settings and weights. `indices`:
how many agree; near a tie float32 may round either way. What every method of ours takes at least,
the pass of `none`: {floor}."""

_IMAGES, _SIDE = 32, 8
_TARGETED = ("gsq", "vq", "fsq", "lfq")
_EQUAL_SHARE = 0.999  # the rest are ties within float32


@dataclass(frozen=True)
class Sizes:
    """Codebooks of 2^bits codes; rounds of interleaved calls, and seconds, as in the search."""

    bits: tuple[int, ...]
    rounds: int
    pair_seconds: float
    seconds: float


GRIDS = {"small": Sizes((10, 13), 9, 1.0, 60.0), "full": Sizes((10, 13, 16), 15, 10.0, 300.0)}


@dataclass
class _Side:
    """Times, peak and indices of one of the two."""

    times: Times
    extra_bytes: int | None
    indices: Int[Tensor, "n k"]


@dataclass(frozen=True)
class _Result:
    name: str
    bits: int
    pair: Pair
    ours: _Side
    theirs: _Side | None
    refusal: str = ""

    @property
    def ratio(self) -> float | None:
        return self.theirs.times.median / self.ours.times.median if self.theirs else None

    @property
    def equal(self) -> int | None:
        """Tokens whose indices agree; None where they need not."""
        if self.theirs is None or not self.pair.comparable:
            return None
        return int((self.ours.indices == self.theirs.indices).all(dim=1).sum())


def measure(sizes: Sizes, device: torch.device, *, stop: StopRequest) -> Section:
    """The whole section; without the other library one line."""
    tokens = _IMAGES * _SIDE**2
    text = _TEXT.format(tokens=tokens, peer=PEER, floor=duration(_floor(sizes, device)))
    try:
        named = [(name, make, bits) for bits in sizes.bits for name, make in pairs().items()]
        results = [
            _measure(name, bits, make, sizes, device)
            for name, make, bits in within(sizes.seconds, named, "methods", stop)
        ]
    except ImportError:
        return Section("Whole quantizers", f"{PEER} is not installed.")
    text += left_out(len(named), len(results))
    return Section("Whole quantizers", text, [*map(_row, results)], [_target(results, device)])


def _floor(sizes: Sizes, device: torch.device) -> float:
    """Seconds of a pass that quantizes nothing: the check of the latent, autograd and the sum."""
    none = build("none", latent_channels=8).train()
    pair = Pair(none, none, copies=0)
    call = _our_pass(pair, *_drawn(pair, device))
    timed = interleaved({"none": call}, rounds=sizes.rounds, seconds=1.0, device=device)
    return timed["none"].median


def _measure(
    name: str, bits: int, make: Callable[[int], Pair], sizes: Sizes, device: torch.device
) -> _Result:
    say(f"methods: {name} V=2^{bits}")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pair = make(bits)
    pair.ours.to(device).train()
    pair.theirs.to(device)
    latents, upstream = _drawn(pair, device)
    calls: dict[str, Callable[[], Tensor]] = {"ours": _our_pass(pair, latents, upstream)}
    needed = pair.copies * _IMAGES * _SIDE**2 * 2**bits * 4
    fits = needed <= memory_limit(device)
    if fits:
        calls["theirs"] = _their_pass(pair.theirs, latents, upstream)
    for call in calls.values():  # the first call of a module builds, imports and compiles
        call()
    sides = {}
    for side, call in calls.items():
        seconds, extra, indices = with_extra_peak(call, device)
        sides[side] = _Side(Times([seconds]), extra, indices)
    short = {side: calls[side] for side in calls if sides[side].times.median < LONG_SECONDS}
    timed = interleaved(short, rounds=sizes.rounds, seconds=sizes.pair_seconds, device=device)
    for side, taken in timed.items():
        sides[side].times = taken
    refusal = "" if fits else f"needs {needed / 1e9:,.0f} GB"
    return _Result(name, bits, pair, sides["ours"], sides.get("theirs"), refusal)


def _drawn(pair: Pair, device: torch.device) -> tuple[Tensor, Tensor]:
    """Latents, and the gradient of what comes out."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, _IMAGES, pair.ours.latent_channels, _SIDE, _SIDE)
    latents, upstream = torch.randn(shape, generator=generator).to(device)
    return latents, upstream


def _our_pass(pair: Pair, latents: Tensor, upstream: Tensor) -> Callable[[], Tensor]:
    quantizer: Quantizer = pair.ours
    z = latents.clone().requires_grad_()

    def call() -> Tensor:
        z.grad = None
        quantizer.zero_grad(set_to_none=True)
        output = quantizer(z)
        loss = (output.quantized * upstream).sum()
        sum(output.losses.values(), loss).backward()
        if pair.updates:
            quantizer.update()
        return output.indices.movedim(1, -1).flatten(0, -2)

    return call


def _their_pass(module: nn.Module, latents: Tensor, upstream: Tensor) -> Callable[[], Tensor]:
    """The same numbers with the channel last, as that library has them."""
    z = latents.flatten(2).mT.contiguous().requires_grad_()
    upstream = upstream.flatten(2).mT.contiguous()

    def call() -> Tensor:
        z.grad = None
        module.zero_grad(set_to_none=True)
        quantized, indices, *losses = module(z)
        loss = (quantized * upstream).sum()
        sum((each.sum() for each in losses), loss).backward()
        return indices.reshape(z.shape[0] * z.shape[1], -1).long()

    return call


def _row(result: _Result) -> dict[str, str]:
    ours, theirs, total = result.ours, result.theirs, len(result.ours.indices)
    equal = "-" if result.equal is None else f"{result.equal:,} of {total:,}"
    return {
        "method": f"`{result.name}`",
        "V": f"{2**result.bits:,}",
        "ours": f"{duration(ours.times.median)}, {megabytes(ours.extra_bytes)}",
        PEER: f"{duration(theirs.times.median)}, {megabytes(theirs.extra_bytes)}"
        if theirs
        else result.refusal,
        "times faster": "-" if result.ratio is None else f"{result.ratio:.1f}",
        "indices": equal,
        "note": result.pair.note,
    }


def _target(results: list[_Result], device: torch.device) -> Target:
    """Times faster, 0 where indices differ."""
    values: dict[str, float] = {}
    calls: dict[str, SetOut] = {}
    for result in results:
        if result.name in _TARGETED and result.bits >= 13 and result.ratio is not None:
            equal = (result.equal or 0) >= _EQUAL_SHARE * len(result.ours.indices)
            label = f"{result.name}, V={2**result.bits:,}"
            values[label] = result.ratio if equal else 0.0
            calls[label] = functools.partial(_set_out, result.pair, device)
    what = f"{', '.join(_TARGETED)}: 3 times as fast as {PEER} at V >= 8,192, indices equal"
    return at_least(what, values, 3.0, times, calls)


def _set_out(pair: Pair, device: torch.device) -> Callable[[], Tensor]:
    """Our pass of a pair, as it was timed."""
    return _our_pass(pair, *_drawn(pair, device))
