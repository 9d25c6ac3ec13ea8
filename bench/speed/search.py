"""The nearest-code search over a grid of sizes, beside its peers."""

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from bench.speed.contest import LIMIT_SECONDS, Cell, contest, drawn, warm_up
from bench.speed.page import Section, megabytes, say
from bench.speed.peers import OURS, PEER, Call, Search, searches
from bench.speed.targets import SetOut, Target, at_least, at_most, times
from bench.speed.timing import left_out, peak_flops_per_second, within
from bench.training.interrupt import StopRequest
from quantizers.nearest import nearest

_TEXT = """N normal latents, V normal codes, d channels: time, and peak memory beyond what was held
before. "Wrong" rows got a code that is further than the nearest by more than float32 explains; such
a search does not count as the fastest. {peer} has no search to call alone: its look-up is in the
time. A call of 2 s or more is timed once; none begins that would take more than {limit:.0f} s or
half of the free memory."""


@dataclass(frozen=True)
class Grid:
    """Sizes to measure, and how long.

    Attributes:
        tokens: numbers of latents, N.
        codes: codebook sizes, V.
        channels: of latents and codes, d.
        rounds: of interleaved calls in a cell.
        cell_seconds: after three rounds, no further one begins that would pass them.
        seconds: of the whole grid; cells after that are left out, the largest first.
        queries: latents of the two searches in one and two channels.
        query_codes: their codebook size.
    """

    tokens: tuple[int, ...]
    codes: tuple[int, ...]
    channels: tuple[int, ...]
    rounds: int
    cell_seconds: float
    seconds: float
    queries: int = 1_000_000
    query_codes: int = 1 << 18

    def sizes(self) -> list[tuple[int, int, int]]:
        """N, V, d of every cell, the fewest pairs first."""
        every = itertools.product(self.tokens, self.codes, self.channels)
        return sorted(every, key=lambda size: (size[0] * size[1], size))


GRIDS = {
    "small": Grid((1024, 16384), (1 << 10, 1 << 13), (8, 64), 15, 5.0, 100.0),
    "full": Grid(
        (1024, 16384, 262144),
        (1 << 10, 1 << 13, 1 << 16, 1 << 18),
        (1, 2, 4, 8, 16, 64),
        15,
        10.0,
        1400.0,
    ),
}


@dataclass(frozen=True)
class Measured:
    """All searches at one size."""

    tokens: int
    codes: int
    channels: int
    cells: dict[str, Cell]
    spherical: bool = False

    @property
    def label(self) -> str:
        return f"N={self.tokens:,}, V={self.codes:,}, d={self.channels}"

    def faster_than(self, name: str) -> float | None:
        """Seconds of a peer over ours, 0 where ours failed; None where the peer has no time."""
        ours, peer = self.cells[OURS], self.cells[name].seconds
        if peer is None:
            return None
        return peer / ours.seconds if ours.seconds and ours.exact else 0.0

    def over_fastest(self) -> float | None:
        """Our seconds over those of the fastest peer that is right; infinite where ours failed."""
        ours = self.cells[OURS]
        peers = [cell for name, cell in self.cells.items() if name != OURS and cell.exact]
        if not peers:
            return None
        fastest = min(cell.seconds or math.inf for cell in peers)
        return ours.seconds / fastest if ours.seconds and ours.exact else math.inf

    def set_out(self, device: torch.device) -> Call:
        """Our search at this size, as it was timed."""
        latents, codebook = drawn(self.tokens, self.codes, self.channels, device)
        return lambda: nearest(latents, codebook)


def measure(grid: Grid, device: torch.device, *, stop: StopRequest) -> Section:
    """The whole section."""
    contestants = searches(device)
    warm_up(contestants, grid.channels, device)
    measured = [
        _size(contestants, grid, *size, device=device)
        for size in within(grid.seconds, grid.sizes(), "search", stop)
    ]
    queries = [_queries(grid, channels, device) for channels in (1, 2) if not stop.requested]
    rows = [_row(one) for one in [*measured, *queries]]
    text = _TEXT.format(peer=PEER, limit=LIMIT_SECONDS) + left_out(len(grid.sizes()), len(measured))
    targets = _on_cuda(measured, device) if device.type == "cuda" else _on_cpu(measured)
    return Section("Nearest-code search", text, rows, [*targets, *map(_fast_queries, queries)])


def _size(
    contestants: list[Search],
    grid: Grid,
    tokens: int,
    codes: int,
    channels: int,
    *,
    device: torch.device,
) -> Measured:
    say(f"search: N={tokens:,} V={codes:,} d={channels}")
    latents, codebook = drawn(tokens, codes, channels, device)
    cells = contest(contestants, latents, codebook, rounds=grid.rounds, seconds=grid.cell_seconds)
    return Measured(tokens, codes, channels, cells)


def _queries(grid: Grid, channels: int, device: torch.device) -> Measured:
    """Our search alone where sorting answers it: a line, and the circle."""
    spherical = channels == 2
    say(f"search: N={grid.queries:,} V={grid.query_codes:,} d={channels}, alone")
    latents, codes = drawn(grid.queries, grid.query_codes, channels, device)
    alone = Search(OURS, lambda x, c: lambda: nearest(x, c, spherical=spherical), 0)
    cells = contest(
        [alone],
        latents,
        codes,
        rounds=grid.rounds,
        seconds=grid.cell_seconds,
        spherical=spherical,
    )
    return Measured(grid.queries, grid.query_codes, channels, cells, spherical)


def _row(one: Measured) -> dict[str, str]:
    ratio = one.over_fastest()
    return {
        "N": f"{one.tokens:,}",
        "V": f"{one.codes:,}",
        "d": f"{one.channels}{', spherical' if one.spherical else ''}",
        **{name: str(cell) for name, cell in one.cells.items()},
        "ours / fastest peer": "-" if ratio is None else f"{ratio:.2f}",
    }


def _on_cpu(measured: list[Measured]) -> list[Target]:
    over = {one.label: one.over_fastest() for one in measured}
    peaks = {one.label: one.cells[OURS].extra_bytes for one in measured}
    extra = {label: float(peak) for label, peak in peaks.items() if peak is not None}
    calls = _calls(measured, torch.device("cpu"))
    return [
        at_most("search: at most 1.1 times the fastest peer", _known(over), 1.1, times, calls),
        _faster(measured, PEER, 3.0, calls),
        at_most("search: under 64 MB of extra memory", extra, 64e6, megabytes),
    ]


def _on_cuda(measured: list[Measured], device: torch.device) -> list[Target]:
    large = [one for one in measured if one.codes >= 1 << 13]
    calls = _calls(measured, device)
    return [
        _faster(large, "cdist + argmin", 5.0, calls),
        _faster(large, "flash-kmeans", 1.0, calls),
        _near_bound(measured, device),
    ]


def _calls(measured: list[Measured], device: torch.device) -> dict[str, SetOut]:
    return {one.label: functools.partial(one.set_out, device) for one in measured}


def _faster(
    measured: list[Measured], peer: str, limit: float, calls: Mapping[str, SetOut]
) -> Target:
    what = f"search: {limit:g} times as fast as {peer}"
    ratios = {one.label: one.faster_than(peer) for one in measured}
    return at_least(what, _known(ratios), limit, times, calls)


def _near_bound(measured: list[Measured], device: torch.device) -> Target:
    """Against a float32 product of the same work, since that bound is above that of the memory."""
    values = {}
    for one in measured:
        size, seconds = (one.tokens, one.codes, one.channels), one.cells[OURS].seconds
        if size == (16384, 1 << 18, 16) and seconds:
            flops = 2 * math.prod(size)
            values[one.label] = seconds * peak_flops_per_second(device, torch.float32) / flops
    calls = _calls(measured, device)
    return at_most("search: 2 times the float32 bound", values, 2.0, times, calls)


def _fast_queries(one: Measured) -> Target:
    cell = one.cells[OURS]
    place = "on the circle" if one.spherical else "on a line"
    what = f"search {place}: {one.tokens:,} latents, {one.codes:,} codes, under 0.5 s"
    reached = cell.seconds is not None and cell.exact and cell.seconds <= 0.5
    return Target(what, str(cell), reached)


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {label: value for label, value in values.items() if value is not None}
