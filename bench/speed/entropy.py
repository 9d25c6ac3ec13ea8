"""The exact entropies of LFQ at 18 bits, forward and backward, beside a library that enumerates."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bench.speed.memory import with_extra_peak
from bench.speed.page import Section, duration, megabytes, say
from bench.speed.peers import PEER, vector_quantize_pytorch
from bench.speed.targets import Target, at_least, at_most, times
from bench.speed.timing import interleaved
from quantizers.parts.entropy import bit_entropies

_TEXT = """Token and batch entropy of soft codes over all 2^{bits}, forward and backward. {peer}
holds a number for every token and code, so it is measured on {few} tokens; its time per token is
what more of them would take, an extrapolation. `error`: of both entropies on these {few} tokens,
the larger, in nats, against an enumeration in float64."""

_TEMPERATURE = 0.01
_SCALE = 0.02  # of the latents: at this one the soft codes are neither hard nor uniform


@dataclass(frozen=True)
class Size:
    """Bits of a code, tokens for ours and for the peer, rounds."""

    bits: int
    tokens: int
    few: int
    rounds: int


GRIDS = {"small": Size(18, 16384, 64, 3), "full": Size(18, 16384, 64, 9)}

Entropies = tuple[Float[Tensor, ""], Float[Tensor, ""]]


def measure(size: Size, device: torch.device) -> Section:
    """The whole section."""
    say(f"entropy: K={size.bits}, N={size.tokens:,}, forward and backward")
    generator = torch.Generator().manual_seed(0)
    latents = _SCALE * torch.randn(size.tokens, size.bits, generator=generator)
    latents = latents.to(device).requires_grad_()
    few = latents.detach()[: size.few].clone().requires_grad_()
    calls = {"ours": lambda: _ours(latents)}
    known = {"ours": _ours(few)}
    try:
        module = vector_quantize_pytorch().LFQ(codebook_size=2**size.bits).to(device).train()
        calls[PEER] = lambda: _theirs(module, few)
    except ImportError:
        say(f"entropy: {PEER} is not installed")
    extra = {}
    for name, call in calls.items():
        _, extra[name], entropies = with_extra_peak(call, device)
        known.setdefault(name, entropies)
    timed = interleaved(calls, rounds=size.rounds, seconds=60.0, device=device)
    exact = _enumerated(few.detach())
    tokens = {"ours": size.tokens, PEER: size.few}
    rows = [
        {
            "": name,
            "tokens": f"{tokens[name]:,}",
            "time": duration(taken.median),
            "extra memory": megabytes(extra[name]),
            "time per token": f"{1e6 * taken.median / tokens[name]:,.0f} µs",
            "error": f"{_error(known[name], exact):.1e}",
        }
        for name, taken in timed.items()
    ]
    seconds = {name: taken.median for name, taken in timed.items()}
    text = _TEXT.format(bits=size.bits, peer=PEER, few=size.few)
    wrong = _error(known["ours"], exact) > 1e-3
    targets = _targets(size, seconds, extra["ours"], wrong=wrong)
    return Section("Exact entropies of LFQ", text, rows, targets)


def _ours(latents: Float[Tensor, "n k"]) -> Entropies:
    latents.grad = None
    of_token, of_batch = bit_entropies(4 / _TEMPERATURE * latents)
    (of_token - of_batch).backward()
    return of_token.detach(), of_batch.detach()


def _theirs(module: torch.nn.Module, latents: Float[Tensor, "n k"]) -> Entropies:
    latents.grad = None
    module.zero_grad(set_to_none=True)
    output, terms = module(
        latents[None], inv_temperature=1 / _TEMPERATURE, return_loss_breakdown=True
    )
    output.entropy_aux_loss.backward()
    return terms.per_sample_entropy.detach(), terms.batch_entropy.detach()


@torch.no_grad()
def _enumerated(latents: Float[Tensor, "n k"]) -> Entropies:
    """Both entropies from the probability of every code, a token at a time."""
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


def _error(found: Entropies, exact: Entropies) -> float:
    return max(abs(float(a) - float(b)) for a, b in zip(found, exact, strict=True))


def _targets(
    size: Size, seconds: dict[str, float], extra: int | None, *, wrong: bool
) -> list[Target]:
    label = f"K={size.bits}, N={size.tokens:,}"
    ours = math.inf if wrong else seconds["ours"]
    per_token = {}
    if PEER in seconds:
        per_token[label] = seconds[PEER] / size.few / (ours / size.tokens)
    memory = {} if extra is None else {label: float(extra)}
    return [
        at_most("entropy: a second", {label: ours}, 1.0, duration),
        at_most("entropy: under 300 MB of extra memory", memory, 300e6, megabytes),
        at_least(f"entropy: 100 times as fast a token as {PEER}", per_token, 100.0, times),
    ]
