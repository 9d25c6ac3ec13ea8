"""Section "Nearest-code search": our search beside its peers over a grid of sizes."""

import contextlib
import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bench.speed.comparison import Grid, Measurement, RefusalError, check_memory, measure
from bench.speed.meter import peak_flops_per_second, timed
from bench.speed.page import Call, Section, Target, megabytes, say, times
from bench.speed.peers import COPIES, OURS, PEER, Search, searches
from bench.speed.referee import wrong_rows
from bench.training.interrupt import StopRequest
from quantizers.nearest import nearest

_TEXT = """N normal latents, V normal codes, d channels: time, and peak memory beyond what was held
before. "Wrong" rows got a code that is further than the nearest one by more than float32 explains;
such a search does not count as the fastest. {peer} has no search to call by itself, so its time
includes the look-up. A call of 2 s or more is timed once. No call begins that would take more than
{limit:.0f} s or half of the free memory."""

LIMIT_SECONDS = 30.0
_WARM_SIZES = ((2048, 2048),)
_OUR_WARM_SIZES = (*_WARM_SIZES, (1 << 16, 1 << 15))  # the second for a tree, of up to 4 channels
_PROBE_NUMBERS = 1 << 28  # pairs of latent and code that no library takes half a minute for
_PROBE_SHARES = (1024, 64)  # of the latents: a search may take a while to prepare


@dataclass(frozen=True)
class Size:
    """Latents N, codes V, channels d; whether only directions are compared."""

    tokens: int
    codes: int
    channels: int
    spherical: bool = False

    def __str__(self) -> str:
        return f"N={self.tokens:,}, V={self.codes:,}, d={self.channels}"

    def drawn(self, device: torch.device) -> tuple[Float[Tensor, "n d"], Float[Tensor, "v d"]]:
        """Normal latents and codes, always the same."""
        generator = torch.Generator().manual_seed(0)
        latents = torch.randn(self.tokens, self.channels, generator=generator)
        codes = torch.randn(self.codes, self.channels, generator=generator)
        return latents.to(device), codes.to(device)

    def our_call(self, latents: Tensor, codes: Tensor) -> Call:
        """Our search, as it is timed."""
        return lambda: nearest(latents, codes, spherical=self.spherical)


def sizes(tokens: tuple[int, ...], codes: tuple[int, ...], channels: tuple[int, ...]) -> list[Size]:
    """Every combination, the fewest pairs of latent and code first."""
    combinations = itertools.starmap(Size, itertools.product(tokens, codes, channels))
    return sorted(
        combinations, key=lambda size: (size.tokens * size.codes, size.tokens, size.channels)
    )


_SMALL = sizes((1024, 16384), (1 << 10, 1 << 13), (8, 64))
_FULL = sizes((1024, 16384, 262144), (1 << 10, 1 << 13, 1 << 16, 1 << 18), (1, 2, 4, 8, 16, 64))
GRIDS = {
    "small": Grid(_SMALL, rounds=15, size_seconds=5.0, seconds=100.0),
    "full": Grid(_FULL, rounds=15, size_seconds=10.0, seconds=1400.0),
}
QUERIES = (Size(1_000_000, 1 << 18, 1), Size(1_000_000, 1 << 18, 2, spherical=True))

Results = dict[Size, dict[str, Measurement]]


def section(grid: Grid[Size], device: torch.device, stop: StopRequest) -> Section:
    """The grid with all peers, then only our search where sorting solves it: line and circle."""
    contenders = searches(device)
    warm_up(contenders, sorted({size.channels for size in grid.sizes}), device)
    results = {
        size: compare(size, contenders, grid, device) for size in grid.within("search", stop)
    }
    queries: Results = {}
    for size in QUERIES:
        if not stop.requested:
            say(f"search: {size}, only ours")
            queries[size] = compare(size, {OURS: size.our_call}, grid, device)
    rows = [_row(size, cells) for size, cells in (results | queries).items()]
    text = _TEXT.format(peer=PEER, limit=LIMIT_SECONDS) + grid.left_out(len(results))
    fast = [query_target(size, cells[OURS]) for size, cells in queries.items()]
    return Section("Nearest-code search", text, rows, [*targets(results, device), *fast])


def warm_up(contenders: Mapping[str, Search], channels: list[int], device: torch.device) -> None:
    """Calls each search, so that no later call pays for imports, thread pools and compilation."""
    for (name, search), width in itertools.product(contenders.items(), channels):
        for tokens, codes in _OUR_WARM_SIZES if name == OURS else _WARM_SIZES:
            drawn = Size(tokens, codes, width).drawn(device)
            with contextlib.suppress(Exception):  # the comparison reports it
                search(*drawn)()


def compare(
    size: Size, contenders: Mapping[str, Search], grid: Grid[Size], device: torch.device
) -> dict[str, Measurement]:
    """All searches on the same latents and codes; every result is checked."""
    latents, codes = size.drawn(device)
    calls = {
        name: functools.partial(_checked, name, search, latents, codes)
        for name, search in contenders.items()
    }
    cells = measure(calls, grid, device)
    answers = [
        (cell, indices)
        for cell in cells.values()
        for number, indices in enumerate(cell.results)
        if number == 0 or not torch.equal(indices, cell.results[0])
    ]
    wrong = wrong_rows(latents, codes, [a[1] for a in answers], spherical=size.spherical)
    for (cell, _), rows in zip(answers, wrong, strict=True):
        cell.wrong = max(cell.wrong, rows)
    return cells


def over_fastest(cells: Mapping[str, Measurement]) -> float | None:
    """Our seconds over those of the fastest peer that is right; None without such a peer."""
    peers = [cell for name, cell in cells.items() if name != OURS and cell.right]
    fastest = min(peers, key=lambda cell: cell.median, default=None)
    return cells[OURS].over(fastest) if fastest else None


def faster_than(peer: str, cells: Mapping[str, Measurement]) -> float | None:
    """Seconds of a peer over ours, 0 where ours is wrong; None where the peer has no time."""
    return 1 / cells[OURS].over(cells[peer]) if cells[peer].seconds else None


def targets(results: Results, device: torch.device) -> list[Target]:
    """On a CPU against the fastest peer, one peer and a bound of memory.

    On CUDA against two peers at large codebooks, and against a float32 product of the same work:
    the product takes longer than the memory traffic, so it is the bound.
    """
    calls = {str(size): functools.partial(_make_call, size, device) for size in results}

    def faster(peer: str, limit: float, least_codes: int = 0) -> Target:
        ratios = {
            str(size): faster_than(peer, cells)
            for size, cells in results.items()
            if size.codes >= least_codes
        }
        what = f"search: {limit:g} times as fast as {peer}"
        return Target.of(what, ratios, times, at_least=limit, calls=calls)

    if device.type == "cuda":
        bound = {
            str(size): cells[OURS].median
            * peak_flops_per_second(device, torch.float32)
            / (2 * size.tokens * size.codes * size.channels)
            for size, cells in results.items()
            if size == Size(16384, 1 << 18, 16) and cells[OURS].seconds
        }
        return [
            faster("cdist + argmin", 5.0, 1 << 13),
            faster("flash-kmeans", 1.0, 1 << 13),
            Target.of("search: 2 times the float32 bound", bound, times, at_most=2.0, calls=calls),
        ]
    over = {str(size): over_fastest(cells) for size, cells in results.items()}
    extra = {str(size): cells[OURS].extra_bytes for size, cells in results.items()}
    what = "search: at most 1.1 times the fastest peer"
    return [
        Target.of(what, over, times, at_most=1.1, calls=calls),
        faster(PEER, 3.0),
        Target.of("search: under 64 MB of extra memory", extra, megabytes, at_most=64e6),
    ]


def query_target(size: Size, cell: Measurement) -> Target:
    """Half a second for a million latents."""
    place = "on the circle" if size.spherical else "on a line"
    what = f"search {place}: {size.tokens:,} latents, {size.codes:,} codes, under 0.5 s"
    return Target(what, str(cell), cell.right and cell.median <= 0.5)


def _make_call(size: Size, device: torch.device) -> Call:
    return size.our_call(*size.drawn(device))


def _row(size: Size, cells: Mapping[str, Measurement]) -> dict[str, str]:
    row = {
        "N": f"{size.tokens:,}",
        "V": f"{size.codes:,}",
        "d": f"{size.channels}{', spherical' if size.spherical else ''}",
        **{name: str(cell) for name, cell in cells.items()},
    }
    ratio = over_fastest(cells)
    return row if ratio is None else row | {"ours / fastest peer": f"{ratio:.2f}"}


def _checked(name: str, search: Search, latents: Tensor, codes: Tensor) -> Call:
    """Refuses a search for the memory or the time that it would take."""
    pairs = len(latents) * len(codes)
    check_memory(COPIES.get(name, 0) * pairs * 4, latents.device)
    for share in _PROBE_SHARES if pairs > _PROBE_NUMBERS else ():
        rows = max(1, len(latents) // share)
        seconds = timed(search(latents[:rows], codes), latents.device)[0]
        if seconds * len(latents) / rows <= LIMIT_SECONDS:
            break
        if seconds > LIMIT_SECONDS / min(_PROBE_SHARES) or share == _PROBE_SHARES[-1]:
            raise RefusalError(f"> {LIMIT_SECONDS:.0f} s")
    return search(latents, codes)
