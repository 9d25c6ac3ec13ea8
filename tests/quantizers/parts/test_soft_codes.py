"""Soft codes: chunks give the results and gradients of all rows at once; soft assignments."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from quantizers import build, gumbel_vq, mgvq
from quantizers.parts import soft_codes
from quantizers.parts.soft_codes import soft_assignment

SOFT = {
    "ibq": {"latent_channels": 4, "codebook_size": 9, "entropy_weight": 0.3},
    "gumbel_vq": {"latent_channels": 4, "codebook_size": 9, "kl_weight": 0.2},
    "lgq": {"latent_channels": 4, "codebook_size": 9, "usage_weight": 0.2},
    "gsq": {"groups": 2, "group_channels": 2, "codebook_size": 9, "entropy_weight": 0.3},
    "lfq": {"latent_channels": 4, "entropy_weight": 0.3},
    "fsq": {"levels": (5, 3, 4, 2), "entropy_weight": 0.3},
}


@pytest.fixture
def small_chunks(monkeypatch):
    """Call it, and chunks have three rows."""

    def shrink() -> None:
        monkeypatch.setattr(soft_codes, "_CHUNK_FLOATS", 1)
        monkeypatch.setattr(soft_codes, "_MIN_CHUNK_ROWS", 3)

    return shrink


@pytest.fixture
def noise(monkeypatch) -> list[Tensor]:
    """Gumbel noise that only depends on the logits; what was drawn, in order."""
    drawn: list[Tensor] = []

    def deterministic(logits: Tensor) -> Tensor:
        drawn.append(logits.detach().mul(5).sin())
        return drawn[-1]

    monkeypatch.setattr(gumbel_vq, "_gumbel_like", deterministic)
    return drawn


def step(name: str, positions: int) -> list[Tensor]:
    """Output, indices, losses and all gradients of a training step."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        quantizer = build(name, **SOFT[name]).train()
        z = torch.randn(2, 4, positions).requires_grad_()
    output = quantizer(z)
    loss = output.quantized.sin().sum() + sum(output.losses.values())
    parameters = [z, *quantizer.parameters()]
    gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
    losses = [value.detach() for value in output.losses.values()]
    return [output.quantized.detach(), output.indices, *losses, *gradients]


@pytest.mark.parametrize("positions", [1, 2, 10])
@pytest.mark.parametrize("name", SOFT)
def test_chunks_change_neither_results_nor_gradients(name, positions, small_chunks, noise):
    whole = step(name, positions)
    small_chunks()
    torch.testing.assert_close(step(name, positions), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SOFT)
def test_an_empty_batch_is_not_a_chunk(name, small_chunks, noise):
    small_chunks()
    assert step(name, 0)[0].shape == (2, 4, 0)


def test_the_backward_pass_draws_the_noise_of_the_forward_pass(monkeypatch, small_chunks):
    drawn = []
    sample = gumbel_vq._gumbel_like
    monkeypatch.setattr(
        gumbel_vq, "_gumbel_like", lambda logits: drawn.append(sample(logits)) or drawn[-1]
    )
    small_chunks()
    step("gumbel_vq", 4)  # eight tokens
    forward, backward = drawn[:3], drawn[3:]
    assert len(backward) == 3
    for noise in forward:
        assert any(torch.equal(noise, again) for again in backward)
    assert not torch.equal(forward[0], forward[1])


def test_anchors_are_drawn_in_chunks_too(monkeypatch):
    monkeypatch.setattr(soft_codes, "_CHUNK_FLOATS", 4 * 500)
    latents = F.one_hot(torch.arange(4)).float()
    codes = latents[[2, 0, 3, 1, 1, 0, 2]] * 100
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = mgvq._drawn_by_distance(latents, codes.repeat(400, 1))
    counts = (drawn == 1).float().view(400, 7, 4).sum(dim=0)
    assert torch.equal(counts.sum(dim=1), torch.full((7,), 400.0))
    expected = (2 * torch.eye(4)).softmax(dim=1)[[2, 0, 3, 1, 1, 0, 2]]
    torch.testing.assert_close(counts / 400, expected, rtol=0, atol=0.09)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_soft_assignment_has_the_selected_codes_bit_for_bit():
    codebook, indices = normal(7, 3, seed=0).float(), torch.tensor([6, 0, 2, 2])
    p = torch.rand(4, 7, generator=torch.Generator().manual_seed(1))
    assert torch.equal(soft_assignment(p, indices, codebook), codebook[indices])


def test_a_soft_assignment_has_the_gradient_of_its_one_hot_index():
    """That of (hard + p - sg(p)) @ codebook: dense in p, and the selected rows of the codebook."""
    indices, upstream = torch.tensor([6, 0, 2, 2]), normal(4, 3, seed=2)
    p = normal(4, 7, seed=3).softmax(dim=-1).requires_grad_()
    codebook = normal(7, 3, seed=0).requires_grad_()
    hard = F.one_hot(indices, 7).double()
    expected = torch.autograd.grad((hard + p - p.detach()) @ codebook, (p, codebook), upstream)
    found = torch.autograd.grad(soft_assignment(p, indices, codebook), (p, codebook), upstream)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
