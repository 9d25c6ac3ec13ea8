"""Section "Exact entropies of LFQ": at 18 bits, beside a library that enumerates the codes."""

import math
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bench.speed.comparison import Grid, Measurement, measure
from bench.speed.page import Call, MakeCall, Section, Target, duration, megabytes, say, times
from bench.speed.peers import OURS, PEER, vector_quantize_pytorch
from bench.training.interrupt import StopRequest
from quantizers.parts.entropy import bit_entropies

_TEXT = """Token and batch entropy of soft codes over all 2^{bits}, forward and backward. {peer}
stores a number for every token and code, so it is measured on {few} tokens; its time per token is
an extrapolation to more of them. `error`: the larger error of both entropies on these {few} tokens,
in nats, against an enumeration in float64."""

_TEMPERATURE = 0.01
_SCALE = 0.02  # of the latents: with it the soft codes are neither hard nor uniform
_MAX_ERROR = 1e-3  # nats


@dataclass(frozen=True)
class Size:
    """Bits of a code, tokens for ours and for the peer."""

    bits: int
    tokens: int
    few: int

    def __str__(self) -> str:
        return f"K={self.bits}, N={self.tokens:,}"


GRIDS = {
    "small": Grid([Size(18, 16384, 64)], rounds=3, size_seconds=60.0),
    "full": Grid([Size(18, 16384, 64)], rounds=9, size_seconds=60.0),
}

Entropies = tuple[Float[Tensor, ""], Float[Tensor, ""]]


def section(grid: Grid[Size], device: torch.device, stop: StopRequest) -> Section:
    """The whole section."""
    (size,) = grid.sizes
    say(f"entropy: {size}, forward and backward")
    generator = torch.Generator().manual_seed(0)
    latents = _SCALE * torch.randn(size.tokens, size.bits, generator=generator)
    latents = latents.to(device).requires_grad_()
    few = latents.detach()[: size.few].clone().requires_grad_()
    contenders: dict[str, MakeCall] = {
        OURS: lambda: partial(_ours, latents),
        PEER: lambda: _their_call(size.bits, few),
    }
    of_few = _ours(few)  # this call also compiles
    measured = measure(contenders, grid, device, required=[OURS])
    ours, peer = measured[OURS], measured[PEER]
    exact = enumerated(few.detach())
    error = _error(of_few, exact)
    ours.wrong = int(error > _MAX_ERROR)
    rows = [_row(OURS, ours, size.tokens) | {"error": f"{error:.1e}"}, _row(PEER, peer, size.few)]
    if peer.results:
        rows[1]["error"] = f"{_error(peer.results[0], exact):.1e}"
    text = _TEXT.format(bits=size.bits, peer=PEER, few=size.few)
    return Section("Exact entropies of LFQ", text, rows, targets(size, measured))


def targets(size: Size, measured: dict[str, Measurement]) -> list[Target]:
    """Seconds, memory, and the peer; a wrong entropy reaches no target of time."""
    ours, peer = measured[OURS], measured[PEER]
    seconds = ours.median if ours.right else math.inf
    faster = peer.median / size.few / (seconds / size.tokens) if peer.seconds else None
    label, extra = str(size), "entropy: under 300 MB of extra memory"
    per_token = f"entropy: 100 times as fast a token as {PEER}"
    return [
        Target.of("entropy: a second", {label: seconds}, duration, at_most=1.0),
        Target.of(extra, {label: ours.extra_bytes}, megabytes, at_most=300e6),
        Target.of(per_token, {label: faster}, times, at_least=100.0),
    ]


@torch.no_grad()
def enumerated(latents: Float[Tensor, "n k"]) -> Entropies:
    """Both entropies from the probability of every code, one token at a time, in float64."""
    bits = latents.shape[1]
    numbers = torch.arange(2**bits, device=latents.device)
    places = torch.arange(bits - 1, -1, -1, device=latents.device)
    codes = (numbers[:, None] >> places & 1).double() * 2 - 1
    mean, of_token = codes.new_zeros(len(codes)), codes.new_zeros(())
    for latent in latents.double():
        log_p = (2 / _TEMPERATURE * (codes @ latent)).log_softmax(dim=0)
        mean += log_p.exp() / len(latents)
        of_token -= (log_p.exp() * log_p).sum() / len(latents)
    return of_token, torch.special.entr(mean).sum()


def _ours(latents: Float[Tensor, "n k"]) -> Entropies:
    latents.grad = None
    of_token, of_batch = bit_entropies(4 / _TEMPERATURE * latents)
    (of_token - of_batch).backward()
    return of_token.detach(), of_batch.detach()


def _their_call(bits: int, latents: Float[Tensor, "n k"]) -> Call:
    module: nn.Module = vector_quantize_pytorch().LFQ(codebook_size=2**bits)
    module.to(latents.device).train()

    def call() -> Entropies:
        latents.grad = None
        module.zero_grad(set_to_none=True)
        output, terms = module(
            latents[None], inv_temperature=1 / _TEMPERATURE, return_loss_breakdown=True
        )
        output.entropy_aux_loss.backward()
        return terms.per_sample_entropy.detach(), terms.batch_entropy.detach()

    return call


def _error(entropies: Entropies, exact: Entropies) -> float:
    return max(abs(float(a) - float(b)) for a, b in zip(entropies, exact, strict=True))


def _row(name: str, cell: Measurement, tokens: int) -> dict[str, str]:
    return {
        "": name,
        "tokens": f"{tokens:,}",
        "time": duration(cell.median) if cell.seconds else cell.note,
        "extra memory": megabytes(cell.extra_bytes),
        "time per token": f"{1e6 * cell.median / tokens:,.0f} µs" if cell.seconds else "-",
    }
