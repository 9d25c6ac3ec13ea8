"""Several searches on the same latents and codes: time, extra peak memory, and who is wrong."""

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from bench.speed.memory import memory_limit, with_extra_peak
from bench.speed.page import duration, megabytes, say
from bench.speed.peers import Call, Search
from bench.speed.referee import Referee
from bench.speed.timing import LONG_SECONDS, interleaved, timed

LIMIT_SECONDS = 30.0
_PROBE_NUMBERS = 1 << 28  # pairs of latent and code that no library takes half a minute for
_PROBE_SHARES = (1024, 64)  # of the latents: a search may take a while to set out


@dataclass
class Cell:
    """One search at one size.

    Attributes:
        seconds: median; None where it did not run.
        extra_bytes: peak beyond what was held before; None where unknown.
        wrong: rows whose code is not the nearest.
        note: why there is no time.
    """

    seconds: float | None = None
    extra_bytes: int | None = None
    wrong: int = 0
    note: str = ""

    @property
    def exact(self) -> bool:
        return self.seconds is not None and not self.wrong

    def __str__(self) -> str:
        """As in the table."""
        if self.seconds is None:
            return self.note
        text = f"{duration(self.seconds)}, {megabytes(self.extra_bytes)}"
        return f"{text}, wrong in {self.wrong:,} rows" if self.wrong else text


@dataclass
class _Contest:
    """What is known of one cell of the grid while it is measured."""

    cells: dict[str, Cell] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)
    found: dict[str, Tensor] = field(default_factory=dict)


def contest(
    searches: Sequence[Search],
    latents: Float[Tensor, "n d"],
    codes: Float[Tensor, "v d"],
    *,
    rounds: int,
    seconds: float,
    spherical: bool = False,
) -> dict[str, Cell]:
    """All searches on the same latents and codes: first each alone, then in turns.

    The first call of each is the one whose memory is measured and whose result is checked; where
    it takes long, it is the only one.
    """
    state = _Contest()
    for search in searches:
        _alone(state, search, latents, codes)
    referee = Referee(latents, codes, spherical=spherical)
    for indices in state.found.values():
        referee.learn(indices)
    for name, indices in state.found.items():
        state.cells[name].wrong = referee.wrong(indices)
    _in_turns(state, referee, rounds=rounds, seconds=seconds, device=latents.device)
    return state.cells


def warm_up(searches: Sequence[Search], channels: Sequence[int], device: torch.device) -> None:
    """Calls of each, so that no later one pays for imports, thread pools and compilation."""
    for search, width in itertools.product(searches, channels):
        for tokens, size in search.warm_sizes:
            latents, codes = drawn(tokens, size, width, device)
            with contextlib.suppress(Exception):  # the contest reports it
                search.prepare(latents, codes)()


def drawn(
    tokens: int, codes: int, channels: int, device: torch.device
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "v d"]]:
    """Normal latents and codes, always the same."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(tokens, channels, generator=generator)
    return latents.to(device), torch.randn(codes, channels, generator=generator).to(device)


def _alone(
    state: _Contest, search: Search, latents: Float[Tensor, "n d"], codes: Float[Tensor, "v d"]
) -> None:
    """The first call of a search, or why there is none."""
    cell = state.cells[search.name] = Cell()
    try:
        cell.note = _refusal(search, latents, codes)
        if not cell.note:
            call = state.calls[search.name] = search.prepare(latents, codes)
            taken, cell.extra_bytes, found = with_extra_peak(call, latents.device)
            cell.seconds, state.found[search.name] = taken, found
    except ImportError:
        cell.note = "not installed"
    except Exception as error:
        cell.note = "failed"
        say(f"  {search.name}: {type(error).__name__}: {error}")


def _in_turns(
    state: _Contest, referee: Referee, *, rounds: int, seconds: float, device: torch.device
) -> None:
    """Times the searches that are not long; what they find differently is judged again."""
    short = [name for name in state.found if (state.cells[name].seconds or 0) < LONG_SECONDS]
    results: dict[str, list[Tensor]] = {name: [] for name in short}
    calls = {name: _keeping(state.calls[name], results[name]) for name in short}
    for name, times in interleaved(calls, rounds=rounds, seconds=seconds, device=device).items():
        cell = state.cells[name]
        cell.seconds = times.median
        others = [found for found in results[name] if not torch.equal(found, state.found[name])]
        cell.wrong = max([cell.wrong, *map(referee.wrong, others)])


def _refusal(search: Search, latents: Float[Tensor, "n d"], codes: Float[Tensor, "v d"]) -> str:
    """Why a search should not even begin: the memory or the time that it would take."""
    needed = search.copies * len(latents) * len(codes) * 4
    if needed > memory_limit(latents.device):
        return f"needs {needed / 1e9:,.0f} GB"
    if len(latents) * len(codes) <= _PROBE_NUMBERS:
        return ""
    for share in _PROBE_SHARES:
        rows = max(1, len(latents) // share)
        taken = timed(search.prepare(latents[:rows], codes), latents.device)[0]
        if taken * len(latents) / rows <= LIMIT_SECONDS:
            return ""
        if taken > LIMIT_SECONDS / min(_PROBE_SHARES):
            break
    return f"> {LIMIT_SECONDS:.0f} s"


def _keeping(call: Call, results: list[Tensor]) -> Call:
    """The call, and its result put aside for a later check."""
    return lambda: results.append(call())
