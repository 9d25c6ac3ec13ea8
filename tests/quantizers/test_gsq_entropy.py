"""The entropy losses of GSQ, off by default: Wang et al. 2024, table 2."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from unchecked import build_unchecked

from quantizers import Quantizer, build

ENTROPIES = ("token_entropy", "batch_entropy")


def make(**parameters) -> Quantizer:
    """A GSQ of 2 groups of 3 channels and 5 codes of differing lengths."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        gsq = build("gsq", **{"groups": 2, "group_channels": 3, "codebook_size": 5} | parameters)
        with torch.no_grad():
            gsq.codebook.copy_(torch.randn_like(gsq.codebook) + 0.3)
    return gsq


def latents(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def enumerated(
    z: Tensor, codebooks: Tensor, *, spherical: bool, temperature: float
) -> dict[str, Tensor]:
    """Both entropies of the joint code of all groups, for float64 tokens (n, groups, d)."""
    if spherical:
        z, codebooks = F.normalize(z, dim=-1), F.normalize(codebooks, dim=-1)
    distances = (z[:, :, None] - codebooks).square().sum(dim=-1)  # (n, groups, v)
    log_p = (-distances / temperature).log_softmax(dim=-1)
    joint = (log_p[:, 0, :, None] + log_p[:, 1, None, :]).flatten(1)
    means = log_p.exp().mean(dim=0)
    return {
        "token_entropy": -(joint.exp() * joint).sum(dim=1).mean(),
        "batch_entropy": -torch.xlogy(means, means).sum(),
    }


@pytest.mark.parametrize("spherical", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("emit", ["unit", "raw"])
@pytest.mark.parametrize("temperature", [0.1, 2.0])
def test_both_losses_and_all_gradients_equal_an_enumeration(spherical, shared, emit, temperature):
    options = {"spherical": spherical, "temperature": temperature}
    weights = {"token_entropy": 0.3, "batch_entropy": -0.3 * 0.5}
    gsq = make(shared=shared, emit=emit, entropy_weight=0.3, diversity_weight=0.5, **options)
    z = latents(40, 6).requires_grad_()
    exact, codebook = (x.detach().double().requires_grad_() for x in (z, gsq.codebook))
    expected = enumerated(exact.view(40, 2, 3), codebook.expand(2, -1, -1), **options)
    losses = gsq(z).losses
    for name, weight in weights.items():
        reference = weight * expected[name]
        torch.testing.assert_close(losses[name].double(), reference, rtol=1e-5, atol=1e-6)
        found = torch.autograd.grad(losses[name], (z, gsq.codebook), retain_graph=True)
        wanted = torch.autograd.grad(reference, (exact, codebook), retain_graph=True)
        for ours, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-6)


def test_every_position_is_a_token():
    gsq = make(entropy_weight=1.0)
    z = latents(2, 6, 4, 3)
    flat = gsq(z.movedim(1, -1).reshape(-1, 6)).losses
    for name, loss in gsq(z).losses.items():
        torch.testing.assert_close(loss, flat[name])


def test_without_weight_nothing_is_added():
    z = latents(40, 6)
    plain, weighted = make()(z), make(entropy_weight=0.1)(z)
    assert list(plain.losses) == ["codebook", "commitment"]
    assert set(weighted.losses) == {"codebook", "commitment", *ENTROPIES}
    assert torch.equal(weighted.quantized, plain.quantized)
    for name, loss in plain.losses.items():
        assert torch.equal(weighted.losses[name], loss)


def test_without_diversity_the_loss_of_a_token_is_left():
    losses = make(entropy_weight=0.1, diversity_weight=0.0)(latents(40, 6)).losses
    assert losses["batch_entropy"] == 0
    assert losses["token_entropy"] > 0


def test_undecided_tokens_have_the_entropy_of_all_codes():
    losses = make(entropy_weight=1.0, temperature=1e6)(latents(40, 6)).losses
    for name, sign in zip(ENTROPIES, (1, -1), strict=True):
        assert float(losses[name].detach()) == pytest.approx(sign * 2 * math.log(5), rel=1e-5)


def test_the_nearest_code_weighs_most():
    """Released code weighs the farthest most; a latent on a code is certain of that code here."""
    gsq = make(groups=1, entropy_weight=1.0, temperature=0.01)
    codes = F.normalize(gsq.codebook[0].detach(), dim=-1)
    losses = gsq(codes).losses
    assert float(losses["token_entropy"].detach()) < 0.01
    assert float(losses["batch_entropy"].detach()) == pytest.approx(-math.log(5), rel=0.01)
    between = F.normalize(codes[0] + codes[1], dim=-1)[None]
    assert gsq(between).losses["token_entropy"] > losses["token_entropy"] + 0.5


def test_losses_of_groups_with_one_codebook_add_up():
    z = latents(40, 3)
    once, twice = make(groups=1, entropy_weight=1.0), make(groups=2, entropy_weight=1.0)
    for name in ENTROPIES:
        doubled = twice(torch.cat([z, z], dim=1)).losses[name]
        torch.testing.assert_close(doubled, 2 * once(z).losses[name])


def test_groups_keep_distributions_of_their_own():
    """Two groups that each are certain of another code have no entropy, pooled they had ln 2."""
    gsq = make(entropy_weight=1.0, temperature=0.01)
    one, other = F.normalize(gsq.codebook[0, :2].detach(), dim=-1)
    losses = gsq(torch.cat([one, other])[None].repeat(7, 1)).losses
    assert float(losses["batch_entropy"].detach()) == pytest.approx(0, abs=0.01)


def test_the_default_temperature_is_that_of_the_released_code():
    z = latents(40, 6)
    ours = make(entropy_weight=0.2)(z).losses
    theirs = make(entropy_weight=0.2, diversity_weight=1.0, temperature=1.0)(z).losses
    assert ours == theirs


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"entropy_weight": -1.0}, "entropy_weight must be .* got -1.0"),
        ({"diversity_weight": math.inf}, "diversity_weight must be .* got inf"),
        ({"temperature": 0.0}, "temperature must be finite and above 0, got 0.0"),
        ({"entropy_weight": 0.1, "codebook_size": 2**24 + 1}, r"at most 2\^24 codes, got 16777217"),
    ],
)
def test_wrong_weights_are_refused(wrong, message):
    parameters = {"groups": 2, "group_channels": 3, "codebook_size": 5} | wrong
    with pytest.raises(ValueError, match=message):
        build_unchecked("gsq", **parameters)
