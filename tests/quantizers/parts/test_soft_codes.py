"""Soft codes in slices of tokens: the same results and gradients as from all tokens at once."""

import pytest
import torch
from torch import Tensor

from quantizers import build, gumbel_vq, mgvq
from quantizers.parts import soft_codes as slices

SOFT = {
    "ibq": {"latent_channels": 4, "codebook_size": 9, "entropy_weight": 0.3},
    "gumbel_vq": {"latent_channels": 4, "codebook_size": 9, "kl_weight": 0.2},
    "lgq": {"latent_channels": 4, "codebook_size": 9, "usage_weight": 0.2},
    "gsq": {"groups": 2, "group_channels": 2, "codebook_size": 9, "entropy_weight": 0.3},
    "lfq": {"latent_channels": 4, "entropy_weight": 0.3},
    "fsq": {"levels": (5, 3, 4, 2), "entropy_weight": 0.3},
}


@pytest.fixture
def small_slices(monkeypatch):
    """Call it, and slices have three tokens."""

    def shrink() -> None:
        monkeypatch.setattr(slices, "_NUMBERS", 1)
        monkeypatch.setattr(slices, "_TOKENS", 3)

    return shrink


@pytest.fixture
def noise(monkeypatch) -> list[Tensor]:
    """Gumbel noise that depends on the logits alone; what was asked for, in order."""
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
def test_slices_change_neither_results_nor_gradients(name, positions, small_slices, noise):
    whole = step(name, positions)
    small_slices()
    torch.testing.assert_close(step(name, positions), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SOFT)
def test_an_empty_batch_is_no_slice(name, small_slices, noise):
    small_slices()
    assert step(name, 0)[0].shape == (2, 4, 0)


def test_the_backward_pass_draws_the_noise_of_the_forward_pass(monkeypatch, small_slices):
    drawn = []
    sample = gumbel_vq._gumbel_like
    monkeypatch.setattr(
        gumbel_vq, "_gumbel_like", lambda logits: drawn.append(sample(logits)) or drawn[-1]
    )
    small_slices()
    step("gumbel_vq", 4)  # eight tokens
    forward, backward = drawn[:3], drawn[3:]
    assert len(backward) == 3
    for noise in forward:
        assert any(torch.equal(noise, again) for again in backward)
    assert not torch.equal(forward[0], forward[1])


def test_anchors_are_drawn_in_slices_too(small_slices):
    small_slices()
    latents = torch.nn.functional.one_hot(torch.arange(4)).float()
    codes = latents[[2, 0, 3, 1, 1, 0, 2]] * 100
    with torch.random.fork_rng():
        torch.manual_seed(0)
        counts = sum((mgvq._drawn_by_distance(latents, codes) == 1).float() for _ in range(400))
    assert torch.equal(counts.sum(dim=1), torch.full((7,), 400.0))
    expected = (2 * torch.eye(4)).softmax(dim=1)[[2, 0, 3, 1, 1, 0, 2]]
    torch.testing.assert_close(counts / 400, expected, rtol=0, atol=0.09)
