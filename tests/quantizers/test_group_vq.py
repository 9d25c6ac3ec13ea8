"""Facts of Group-VQ: Zheng and Li 2025, the codes of group j are V_j W_j + b_j with V_j frozen."""

import pytest
import torch

from quantizers import Quantizer, build


@pytest.fixture
def z():
    return torch.randn(4, 3, 5, 2, generator=torch.Generator().manual_seed(0))


def make(groups: int = 4) -> Quantizer:
    """Twelve codes of three channels from a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return build(
            "group_vq",
            latent_channels=3,
            codebook_size=12,
            codebook_groups=groups,
            commitment_weight=0.4,
        )


def test_every_latent_becomes_the_nearest_code_of_all_groups(z):
    group_vq = make()
    output = group_vq(z)
    codes = torch.cat(
        [
            core.double() @ projector.double() + bias.double()
            for core, projector, bias in zip(
                group_vq.core, group_vq.projectors.detach(), group_vq.biases.detach(), strict=True
            )
        ]
    )
    best = torch.cdist(z.movedim(1, -1).double(), codes).argmin(dim=-1)
    assert torch.equal(output.indices[:, 0], best)
    torch.testing.assert_close(output.quantized.movedim(1, -1), codes[best].float())
    assert len((best // 3).unique()) == 4


def test_one_group_is_simvq_with_a_bias(z):
    group_vq = make(groups=1)
    simvq = build("simvq", latent_channels=3, codebook_size=12, commitment_weight=0.4)
    weight = group_vq.projectors.detach()[0].T
    simvq.load_state_dict({"core": group_vq.core[0], "projection.weight": weight})
    bias = group_vq.biases.detach().view(3, 1, 1)
    ours, theirs = group_vq(z + bias), simvq(z)
    assert torch.equal(ours.indices, theirs.indices)
    torch.testing.assert_close(ours.quantized, theirs.quantized + bias)
    torch.testing.assert_close(ours.losses, theirs.losses)


def test_groups_of_one_code_are_vq(z):
    """The bias of a group of one is a code of its own, and gets the gradient of that code."""
    group_vq, vq = make(groups=12), build("vq", latent_channels=3, codebook_size=12)
    vq.load_state_dict({"codebook": group_vq.codebook.detach()})
    group_vq(z).losses["codebook"].backward()
    vq(z).losses["codebook"].backward()
    torch.testing.assert_close(group_vq.biases.grad[:, 0], vq.codebook.grad)


def test_a_gradient_step_of_one_code_moves_its_group_and_no_other():
    group_vq = make()
    before = group_vq.codebook.detach()
    output = group_vq(torch.tensor([[0.5, -1.0, 2.0]]))
    output.losses["codebook"].backward()
    with torch.no_grad():
        for parameter in group_vq.parameters():
            parameter -= 0.1 * parameter.grad
    moved = (group_vq.codebook.detach() != before).any(dim=1).view(4, 3)
    group = int(output.indices) // 3
    assert moved[group].all()
    assert not moved[torch.arange(4) != group].any()


def test_gradients_of_maps_and_biases_have_their_closed_forms(z):
    group_vq = make()
    output = group_vq(z)
    output.losses["codebook"].backward()
    indices = output.indices.flatten()
    error = (output.quantized.detach() - z).movedim(1, -1).flatten(0, -2).double()
    cores = group_vq.core.double().flatten(0, 1)[indices]
    for group in range(4):
        inside = indices // 3 == group
        expected = 2 * cores[inside].T @ error[inside] / error.numel()
        gradient = group_vq.projectors.grad[group].double()
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-7)
        expected = 2 * error[inside].sum(dim=0, keepdim=True) / error.numel()
        gradient = group_vq.biases.grad[group].double()
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-7)


def test_the_core_is_frozen_and_belongs_to_the_state():
    group_vq = make()
    assert {name for name, _ in group_vq.named_parameters()} == {"projectors", "biases"}
    assert set(group_vq.state_dict()) == {"core", "projectors", "biases"}


def test_decoding_under_autocast_gives_the_codes_of_the_forward_pass(z):
    group_vq = make()
    output = group_vq(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        decoded = group_vq.dequantize(output.indices)
    assert torch.equal(decoded, output.quantized)


def test_every_group_starts_as_simvq_does():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        group_vq = build("group_vq", latent_channels=16, codebook_size=5000, codebook_groups=50)
    rows = group_vq.core.flatten(0, 1)
    torch.testing.assert_close(rows.T.cov(), torch.eye(16) / 16, rtol=0, atol=0.005)
    for parameter in group_vq.parameters():
        assert 0.99 / 4 < parameter.detach().abs().max() <= 1 / 4
        assert float(parameter.detach().var()) == pytest.approx(1 / 48, rel=0.1)


def test_the_default_commitment_weight_is_a_quarter(z):
    losses = build("group_vq", latent_channels=3, codebook_size=4, codebook_groups=2)(z).losses
    torch.testing.assert_close(losses["commitment"], losses["codebook"] / 4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"codebook_size": 1, "codebook_groups": 1}, "got 1 and 1"),
        ({"codebook_groups": 0}, "codebook_groups >= 1 .* got 12 and 0"),
        ({"codebook_groups": 5}, "divide it, got 12 and 5"),
        ({"commitment_weight": -0.1}, "commitment_weight must be .* got -0.1"),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        build("group_vq", **({"codebook_size": 12, "codebook_groups": 3} | wrong))
