"""Facts of grouped LFQ: Zhuang et al. 2026, group-wise look-up free quantization."""

import math

import pytest
import torch
from unchecked import build_unchecked

from quantizers import build


@pytest.fixture
def z():
    return torch.randn(6, 12, 4, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("groups", [1, 2, 3, 12])
def test_the_output_and_its_gradient_are_those_of_lfq(z, groups):
    latents = [z.clone().requires_grad_(), z.clone().requires_grad_()]
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
    grouped = build("grouped_lfq", groups=groups, group_channels=12 // groups)(latents[0])
    plain = build("lfq", latent_channels=12)(latents[1])
    assert torch.equal(grouped.quantized, plain.quantized)
    for latent, output in zip(latents, (grouped, plain), strict=True):
        output.quantized.backward(upstream)
        assert torch.equal(latent.grad, upstream)


def test_the_commitment_is_that_of_lfq(z):
    latents = [z.clone().requires_grad_(), z.clone().requires_grad_()]
    grouped = build("grouped_lfq", groups=3, group_channels=4, commitment_weight=0.4)
    plain = build("lfq", latent_channels=12, commitment_weight=0.4)
    grouped = grouped(latents[0]).losses["commitment"]
    plain = plain(latents[1]).losses["commitment"]
    torch.testing.assert_close(grouped, plain)
    grouped.backward()
    plain.backward()
    torch.testing.assert_close(latents[0].grad, latents[1].grad)


def test_a_group_is_an_lfq_of_its_contiguous_channels(z):
    """Each group has the indices of its own LFQ; entropies are sums over the groups."""
    options = {"temperature": 0.5, "entropy_weight": 0.2, "diversity_weight": 3.0}
    grouped = build("grouped_lfq", groups=3, group_channels=4, **options)(z)
    alone = [build("lfq", latent_channels=4, **options)(part) for part in z.split(4, dim=1)]
    assert torch.equal(grouped.indices, torch.cat([lfq.indices for lfq in alone], dim=1))
    for name in ("token_entropy", "batch_entropy"):
        expected = torch.stack([lfq.losses[name] for lfq in alone]).sum()
        torch.testing.assert_close(grouped.losses[name], expected)


def test_the_gradient_of_the_entropies_is_that_of_an_enumeration(z):
    """p(code | z) is proportional to exp(2 <z, code> / temperature), in each group."""
    grouped = build("grouped_lfq", groups=3, group_channels=4, temperature=0.5)
    codes = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 4)
    latents = z.movedim(1, -1).flatten(0, -2).double().requires_grad_()
    log_p = (2 / 0.5 * latents.unflatten(1, (3, 4)) @ codes.T).log_softmax(dim=-1)
    mean = log_p.exp().mean(dim=0)
    expected = 0.1 * (torch.xlogy(mean, mean).sum() - (log_p.exp() * log_p).sum(dim=(1, 2)).mean())
    expected.backward()
    losses = grouped(z.requires_grad_()).losses
    loss = losses["token_entropy"] + losses["batch_entropy"]
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-7)
    loss.backward()
    gradient = z.grad.movedim(1, -1).flatten(0, -2).double()
    atol = 1e-5 * float(latents.grad.abs().max())
    torch.testing.assert_close(gradient, latents.grad, rtol=1e-4, atol=atol)


def test_groups_keep_distributions_of_their_own():
    """Each group is always at its own code: no diversity, though pooled they would show 1 bit."""
    z = torch.tensor([[1.0, 1.0, -1.0, -1.0]]).repeat(8, 1)
    losses = build("grouped_lfq", groups=2, group_channels=2, entropy_weight=1.0)(z).losses
    assert float(losses["batch_entropy"]) == pytest.approx(0, abs=1e-6)


def test_smaller_groups_bound_the_entropy_of_the_batch_from_above(z):
    """Bits that repeat one another count once within a group and twice across groups."""
    repeated = z[:, :1].sign().repeat(1, 4, 1, 1)
    entropies = {
        groups: -float(
            build("grouped_lfq", groups=groups, group_channels=4 // groups, entropy_weight=1.0)(
                repeated
            ).losses["batch_entropy"]
        )
        for groups in (1, 2, 4)
    }
    assert entropies[2] == pytest.approx(2 * entropies[1], rel=1e-5)
    assert entropies[4] == pytest.approx(4 * entropies[1], rel=1e-5)
    assert 0 < entropies[1] <= math.log(2) + 1e-6


@pytest.mark.parametrize(("groups", "group_channels"), [(1, 1), (2, 3), (4, 2), (3, 1)])
def test_every_index_is_the_binary_form_of_its_group(groups, group_channels):
    grouped = build("grouped_lfq", groups=groups, group_channels=group_channels)
    every = torch.cartesian_prod(*[torch.arange(2**group_channels)] * groups)
    indices = every.view(-1, groups)
    codes = [
        [2.0 * int(b) - 1 for i in row for b in f"{i:0{group_channels}b}"]
        for row in indices.tolist()
    ]
    assert torch.equal(grouped.dequantize(indices), torch.tensor(codes))
    assert torch.equal(grouped(torch.tensor(codes)).indices, indices)


def test_zero_is_the_bit_zero():
    grouped = build("grouped_lfq", groups=2, group_channels=2)
    output = grouped(torch.tensor([[0.0, -0.0, 1e-45, 0.0]]))
    assert output.quantized.tolist() == [[-1, -1, 1, -1]]
    assert output.indices.tolist() == [[0, 2]]


def test_more_bits_than_an_index_holds_are_no_limit():
    grouped = build("grouped_lfq", groups=8, group_channels=18)
    assert grouped.codebook_sizes == (2**18,) * 8
    assert grouped.bits_per_position == 144


def test_the_defaults_are_those_of_the_authors():
    z = torch.full((1, 4), 1e-3)
    losses = build("grouped_lfq", groups=2, group_channels=2)(z).losses
    assert float(losses["commitment"]) == pytest.approx(0.25 * (1 - 1e-3) ** 2)
    bit = 1 / (1 + math.exp(-0.4))  # sigmoid of 4 z / temperature, with temperature 0.01
    entropy = -4 * (bit * math.log(bit) + (1 - bit) * math.log(1 - bit))
    assert float(losses["token_entropy"]) == pytest.approx(0.1 * entropy, rel=1e-5)
    assert float(losses["batch_entropy"]) == pytest.approx(-0.1 * entropy, rel=1e-5)


def test_without_weight_no_entropy_is_computed(z):
    grouped = build("grouped_lfq", groups=2, group_channels=6, entropy_weight=0.0)
    assert set(grouped(z).losses) == {"commitment"}


def test_it_learns_nothing_and_stores_nothing():
    grouped = build("grouped_lfq", groups=2, group_channels=9)
    assert not list(grouped.parameters())
    assert not grouped.state_dict()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"groups": 0}, "groups >= 1 and packs 1 to 62 group_channels .* got 0 and 4"),
        ({"group_channels": 0}, "packs 1 to 62 group_channels in an index, got 2 and 0"),
        ({"group_channels": 63}, "packs 1 to 62 group_channels in an index, got 2 and 63"),
        ({"group_channels": 25}, "at most 2\\^24 codes, got 33554432; more groups .* leaves it"),
        ({"temperature": 0.0}, "temperature must be finite and above 0, got 0.0"),
        ({"temperature": math.inf}, "temperature must be finite and above 0, got inf"),
        ({"entropy_weight": -1.0}, "entropy_weight must be .* got -1.0"),
        ({"diversity_weight": math.nan}, "diversity_weight must be .* got nan"),
        ({"commitment_weight": math.inf}, "commitment_weight must be .* got inf"),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, message):
    arguments = {"groups": 2, "group_channels": 4} | wrong
    with pytest.raises(ValueError, match=message):
        build_unchecked("grouped_lfq", **arguments)
