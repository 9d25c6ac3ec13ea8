"""Facts of SimVQ: Zhu et al. 2025, the codebook is C W with C frozen."""

import pytest
import torch

from quantizers import Quantizer, build


@pytest.fixture
def z():
    return torch.randn(4, 3, 5, 2, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def simvq() -> Quantizer:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return build("simvq", latent_channels=3, codebook_size=11, commitment_weight=0.4)


def test_every_latent_becomes_the_nearest_mapped_code(simvq, z):
    output = simvq(z)
    codes = simvq.core.double() @ simvq.projection.weight.detach().double().T
    best = torch.cdist(z.movedim(1, -1).double(), codes).argmin(dim=-1)
    assert torch.equal(output.indices[:, 0], best)
    torch.testing.assert_close(output.quantized.movedim(1, -1), codes[best].float())


def test_with_the_identity_as_its_map_it_is_vq_on_the_core(simvq, z):
    vq = build("vq", latent_channels=3, codebook_size=11, commitment_weight=0.4)
    vq.load_state_dict({"codebook": simvq.core})
    simvq.load_state_dict({"core": simvq.core, "projection.weight": torch.eye(3)})
    ours, theirs = simvq(z), vq(z)
    assert torch.equal(ours.indices, theirs.indices)
    assert torch.equal(ours.quantized, theirs.quantized)
    assert ours.losses == theirs.losses


def test_the_gradient_of_the_map_has_its_closed_form(simvq, z):
    """The chain rule through C W: the error of every latent times the core of its code."""
    z.requires_grad_()
    output = simvq(z)
    core, weight = simvq.core.double(), simvq.projection.weight
    indices = output.indices.flatten()
    latents = z.detach().movedim(1, -1).flatten(0, -2).double()
    error = core[indices] @ weight.detach().double().T - latents
    expected = 2 * error.T @ core[indices] / error.numel()
    (gradient,) = torch.autograd.grad(output.losses["codebook"], weight, retain_graph=True)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-7)
    (gradient,) = torch.autograd.grad(output.losses["commitment"], z, retain_graph=True)
    expected = (-2 * 0.4 * error / error.numel()).view(4, 5, 2, 3).movedim(-1, 1)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-7)
    (gradient,) = torch.autograd.grad(output.losses["commitment"], weight, allow_unused=True)
    assert gradient is None


def test_a_gradient_step_of_one_code_moves_all_codes(simvq):
    """Code j moves along the error of code i, by as much as their cores align."""
    z = torch.tensor([[0.5, -1.0, 2.0]])
    before = simvq.codebook.detach()
    output = simvq(z)
    output.losses["codebook"].backward()
    with torch.no_grad():
        simvq.projection.weight -= 0.1 * simvq.projection.weight.grad
    moved = simvq.codebook.detach() - before
    error = output.quantized.detach() - z
    alignment = simvq.core @ simvq.core[output.indices.flatten()].T
    torch.testing.assert_close(moved, -0.1 * 2 / 3 * alignment * error)
    assert moved.any(dim=1).all()


def test_the_core_is_frozen_and_belongs_to_the_state(simvq, z):
    assert [name for name, _ in simvq.named_parameters()] == ["projection.weight"]
    assert set(simvq.state_dict()) == {"core", "projection.weight"}
    assert not simvq.core.requires_grad


def test_decoding_under_autocast_gives_the_codes_of_the_forward_pass(simvq, z):
    output = simvq(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        decoded = simvq.dequantize(output.indices)
    assert torch.equal(decoded, output.quantized)


def test_the_core_starts_normal_with_rows_of_mean_square_one():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        simvq = build("simvq", latent_channels=16, codebook_size=5000)
    torch.testing.assert_close(simvq.core.T.cov(), torch.eye(16) / 16, rtol=0, atol=0.005)
    kurtosis = (simvq.core * 4).pow(4).mean()
    assert float(kurtosis) == pytest.approx(3, rel=0.05)
    bound = simvq.projection.weight.detach().abs().max()
    assert 0.2 < float(bound) <= 1 / 4


def test_the_default_commitment_weight_is_a_quarter(z):
    losses = build("simvq", latent_channels=3, codebook_size=4)(z).losses
    torch.testing.assert_close(losses["commitment"], losses["codebook"] / 4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"codebook_size": 1}, "codebook_size of at least 2, got 1"),
        ({"codebook_size": 4, "latent_channels": 0}, "latent_channels must be at least 1, got 0"),
        ({"codebook_size": 4, "commitment_weight": -0.1}, "commitment_weight must be .* got -0.1"),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        build("simvq", **wrong)
