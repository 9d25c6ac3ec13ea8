"""Nearest-code search as one Triton kernel that streams the codebook past each block of latents.

A program holds a block of latents of one group and their best scores so far; it never stores other
scores. It reads latents and codes in place, contiguous or not. Products have the requested
precision, and sums are float32. If the latents are too few to fill the device, each program
searches a part of the codebook, and the best scores of the parts are compared at the end.
"""

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from jaxtyping import Float, Int
from torch import Tensor

from quantizers.nearest.dot_products import Precision

_LATENTS = 64  # per program
_CODES = 64  # per step
_PROGRAMS = 1024  # enough for several on every multiprocessor


def search_kernel(
    latents: Float[Tensor, "g n d"],
    codes: Float[Tensor, "g v d"],
    penalty: Float[Tensor, "g v"],
    *,
    precision: Precision = "float32",
) -> tuple[Int[Tensor, "g n"], Float[Tensor, "g n"]]:
    """Index and value of the largest `latents @ codes.mT - penalty`; ties go to the lowest index.

    Args:
        latents: float32, on a CUDA device.
        codes: float32.
        penalty: infinite for a code that is chosen only if there is no other.
        precision: of the factors of a product.
    """
    (groups, count, channels), size = latents.shape, codes.shape[1]
    if groups * count == 0:
        index = torch.empty(groups, count, dtype=torch.int64, device=latents.device)
        return index, latents.new_empty(groups, count)
    if precision == "bf16":
        latents, codes = latents.bfloat16(), codes.bfloat16()
    blocks, steps = triton.cdiv(count, _LATENTS), triton.cdiv(size, _CODES)
    parts = max(1, min(steps, _PROGRAMS // (blocks * groups)))
    codes_per_part = triton.cdiv(steps, parts) * _CODES
    parts = triton.cdiv(size, codes_per_part)
    scores = torch.empty(parts, groups, count, device=latents.device)
    indices = torch.empty(parts, groups, count, dtype=torch.int64, device=latents.device)
    _best_code[(blocks, parts, groups)](
        latents, codes, penalty, scores, indices,
        *latents.stride(), *codes.stride(), *penalty.stride(),
        count, size, channels, codes_per_part,
        block_n=_LATENTS, block_v=_CODES, block_d=max(16, triton.next_power_of_2(channels)),
        product="ieee" if precision == "float32" else "tf32",
        widen=triton.knobs.runtime.interpret,  # the interpreter has no products of bfloat16
    )  # fmt: skip
    best = scores.amax(dim=0)
    return torch.where(scores == best, indices, size).amin(dim=0), best


@triton.jit
def _best_code(  # type: ignore[no-untyped-def]
    latents, codes, penalty, scores, indices,
    latent_group, latent_row, latent_channel, code_group, code_row, code_channel,
    penalty_group, penalty_row, count, size, channels, codes_per_part,
    block_n: tl.constexpr, block_v: tl.constexpr, block_d: tl.constexpr,
    product: tl.constexpr, widen: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * block_n + tl.arange(0, block_n)
    part = tl.program_id(1)
    group = tl.program_id(2).to(tl.int64)
    channel = tl.arange(0, block_d)
    inside = row < count
    x = tl.load(
        latents
        + group * latent_group
        + row.to(tl.int64)[:, None] * latent_row
        + channel[None, :] * latent_channel,
        mask=inside[:, None] & (channel[None, :] < channels),
        other=0.0,
    )
    if widen:
        x = x.to(tl.float32)
    best_score = tl.full((block_n,), -float("inf"), tl.float32)
    best = tl.full((block_n,), 0, tl.int32)
    first = part * codes_per_part
    for start in range(first, tl.minimum(first + codes_per_part, size), block_v):
        code = start + tl.arange(0, block_v)
        c = tl.load(
            codes
            + group * code_group
            + code.to(tl.int64)[None, :] * code_row
            + channel[:, None] * code_channel,
            mask=(code[None, :] < size) & (channel[:, None] < channels),
            other=0.0,
        )
        if widen:
            c = c.to(tl.float32)
        charge = penalty + group * penalty_group + code * penalty_row
        p = tl.load(charge, mask=code < size, other=float("inf"))
        score = tl.dot(x, c, input_precision=product) - p[None, :]
        top, within = tl.max(score, axis=1, return_indices=True, return_indices_tie_break_left=True)
        better = top > best_score  # strict: an earlier code keeps a tie
        best = tl.where(better, start + within, best)
        best_score = tl.where(better, top, best_score)
    place = (part.to(tl.int64) * tl.num_programs(2) + group) * count + row
    tl.store(scores + place, best_score, mask=inside)
    tl.store(indices + place, best.to(tl.int64), mask=inside)
