"""Compares the Triton kernel with brute force, in Triton's interpreter; run as a process."""

import os

os.environ["TRITON_INTERPRET"] = "1"  # read where the kernel is compiled

import torch
from brute_force import nearest_of_all, problem
from torch import Tensor

from quantizers.nearest import triton_kernel

SIZES = [(1, 1, 1), (70, 130, 5), (3, 200, 20), (130, 65, 3), (64, 64, 16), (65, 129, 17)]


def search_kernel(latents: Tensor, codes: Tensor, penalty: Tensor) -> Tensor:
    """The search of one group, whose score is that of the index."""
    index, score = triton_kernel.search_kernel(latents[None], codes[None], penalty[None])
    if penalty.isfinite().all():
        expected = (latents * codes[index[0]]).sum(dim=1) - penalty[index[0]]
        torch.testing.assert_close(score[0], expected, rtol=1e-5, atol=1e-5)
    return index[0]


def _exact(size: tuple[int, int, int]) -> None:
    """Small integers, whose products and sums are exact: many ties, zero rows, equal codes."""
    generator = torch.Generator().manual_seed(sum(size))
    n, v, d = size
    latents = torch.randint(-2, 3, (n, d), generator=generator).float()
    codebook = torch.randint(-2, 3, (v, d), generator=generator).float()
    codebook[v // 2], latents[n // 2] = 0, 0
    penalty = codebook.square().sum(dim=1) / 2
    found = search_kernel(latents, codebook, penalty)
    assert torch.equal(found, nearest_of_all(latents, codebook)), size
    penalty[found[0]] = torch.inf
    if v > 1:
        assert search_kernel(latents, codebook, penalty)[0] != found[0]


def _close(size: tuple[int, int, int]) -> None:
    latents, codebook = problem(size, seed=1)
    found = search_kernel(latents, codebook, codebook.square().sum(dim=1) / 2)
    best = codebook[nearest_of_all(latents, codebook)].double()
    excess = (latents - codebook[found].double()).square().sum(1) / (latents - best).square().sum(1)
    assert (excess <= 1 + 1e-5).all(), size


def _coarse(size: tuple[int, int, int]) -> None:
    """Products of bfloat16 numbers, with sums in float32: exactly those of the rounded numbers."""
    latents, codebook = problem(size, seed=3)
    penalty = codebook.square().sum(dim=1) / 2
    arguments = latents[None], codebook[None], penalty[None]
    index, score = triton_kernel.search_kernel(*arguments, precision="bf16")
    scores = latents.bfloat16().double() @ codebook.bfloat16().double().T - penalty
    torch.testing.assert_close(score[0].double(), scores.amax(dim=1), rtol=1e-5, atol=1e-5)
    chosen = scores.gather(1, index[0, :, None])[:, 0]
    torch.testing.assert_close(chosen, scores.amax(dim=1), rtol=1e-5, atol=1e-5)
    index, score = triton_kernel.search_kernel(*arguments, precision="tf32")
    exact = latents.double() @ codebook.double().T - penalty
    torch.testing.assert_close(score[0].double(), exact.amax(dim=1), rtol=1e-2, atol=1e-2)
    close = exact.gather(1, index[0, :, None])[:, 0] >= exact.amax(dim=1) - 1e-2 * size[2]
    assert close.all(), size


def _groups_and_strides(size: tuple[int, int, int]) -> None:
    """Each group alone, where neither latents nor codes nor penalties are contiguous."""
    n, v, d = size
    latents, codes = problem((3 * n, 3 * v, 2 * d), seed=2)
    latents = latents.view(n, 3, 2 * d)[..., ::2].movedim(1, 0)
    codes = codes.view(v, 3, 2 * d)[..., ::2].movedim(1, 0)
    penalty = (codes.square().sum(dim=2) / 2).T.contiguous().T
    found, _ = triton_kernel.search_kernel(latents, codes, penalty)
    for group in range(3):
        alone = latents[group].contiguous(), codes[group].contiguous()
        assert torch.equal(found[group], search_kernel(*alone, penalty[group].contiguous())), size


for programs in (1, 6, triton_kernel._PROGRAMS):
    triton_kernel._PROGRAMS = programs
    for size in SIZES:
        _exact(size)
        _close(size)
        _coarse(size)
        _groups_and_strides(size)
nothing = torch.full((9,), torch.inf)
assert not search_kernel(torch.ones(5, 3), torch.zeros(9, 3), nothing).any()
assert search_kernel(torch.ones(0, 3), torch.zeros(9, 3), nothing).shape == (0,)
