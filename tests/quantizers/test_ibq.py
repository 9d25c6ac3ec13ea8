"""Facts of IBQ: Shi et al. 2024, against its definition in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from unchecked import build_unchecked

from quantizers import Quantizer, build, lookup

LOSSES = {"codebook", "commitment", "quantization", "token_entropy", "batch_entropy"}


def make(**parameters) -> Quantizer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build("ibq", **{"latent_channels": 3, "codebook_size": 11} | parameters)


@pytest.fixture
def z():
    return torch.randn(4, 3, 5, 2, generator=torch.Generator().manual_seed(1))


def definition(z: Tensor, codebook: Tensor, temperature: float) -> dict[str, Tensor]:
    """Output and unweighted losses of the paper, for float64 tokens (n, d)."""
    logits = z @ codebook.T
    p = logits.softmax(dim=1)
    hard = F.one_hot(logits.argmax(dim=1), len(codebook)).double()
    output, code = (hard - p.detach() + p) @ codebook, hard @ codebook
    log_p = (logits / temperature).log_softmax(dim=1)
    mean = log_p.exp().mean(dim=0)
    return {
        "output": output,
        "quantization": (output - z).square().mean(),
        "codebook": (code - z.detach()).square().mean(),
        "commitment": (code.detach() - z).square().mean(),
        "token_entropy": -(log_p.exp() * log_p).sum(dim=1).mean(),
        "batch_entropy": torch.xlogy(mean, mean).sum(),  # negative: it is to grow
    }


def test_the_code_with_the_largest_dot_product_is_selected(z):
    ibq = make()
    output = ibq(z)
    products = z.movedim(1, -1).double() @ ibq.codebook.double().T
    assert torch.equal(output.indices[:, 0], products.argmax(dim=-1))
    assert torch.equal(output.quantized, ibq.codebook[output.indices[:, 0]].movedim(-1, 1))


def test_dot_products_favour_long_codes(z):
    ibq = make(codebook_size=2)
    with torch.no_grad():
        ibq.codebook.copy_(torch.tensor([[1.0, 0, 0], [5.0, 0, 0]]))
    nearer_to_the_first = torch.tensor([[1.5, 0.0, 0.0]])
    assert ibq(nearer_to_the_first).indices.item() == 1


def test_equal_codes_are_told_apart_by_the_lowest_index(z):
    ibq = make()
    with torch.no_grad():
        ibq.codebook[6:] = ibq.codebook[:5].clone()
    assert ibq(z).indices.max() <= 5


def test_output_losses_and_all_gradients_are_those_of_the_definition(z):
    weights = {"quantization": 1, "codebook": 1, "commitment": 0.4}
    weights |= {"token_entropy": 0.3, "batch_entropy": 0.3}
    ibq = make(commitment_weight=0.4, entropy_weight=0.3, temperature=0.5)
    latents = z.movedim(1, -1).flatten(0, -2).double().requires_grad_()
    codebook = ibq.codebook.detach().double().requires_grad_()
    expected = definition(latents, codebook, 0.5)
    output = ibq(z.requires_grad_())
    assert set(output.losses) == LOSSES
    found = dict(output.losses) | {"output": output.quantized.sin().sum()}
    expected["output"] = expected["output"].sin().sum()
    for name, loss in found.items():
        reference = weights.get(name, 1) * expected[name]
        torch.testing.assert_close(loss.double(), reference, rtol=1e-5, atol=1e-5)
        wanted = torch.autograd.grad(
            reference, (latents, codebook), retain_graph=True, materialize_grads=True
        )
        got = torch.autograd.grad(
            loss, (z, ibq.codebook), retain_graph=True, materialize_grads=True
        )
        tokens = got[0].movedim(1, -1).flatten(0, -2)
        torch.testing.assert_close(tokens.double(), wanted[0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(got[1].double(), wanted[1], rtol=1e-4, atol=1e-6)


def test_the_output_alone_trains_every_code(z):
    ibq = make()
    output = ibq(z)
    assert len(output.indices.unique()) < 11
    output.quantized.sin().sum().backward()
    assert (ibq.codebook.grad.abs().sum(dim=1) > 0).all()


def test_the_temperature_changes_the_entropies_only(z):
    cold, warm = make(temperature=0.1)(z), make(temperature=100.0)(z)
    assert torch.equal(cold.quantized, warm.quantized)
    for name in LOSSES:
        assert torch.equal(cold.losses[name], warm.losses[name]) == ("entropy" not in name)
    assert float(warm.losses["token_entropy"].detach()) == pytest.approx(
        0.05 * math.log(11), rel=0.01
    )


def test_the_defaults_are_those_of_the_paper_and_its_code(z):
    ibq = make()
    losses = ibq(z).losses
    latents = z.movedim(1, -1).flatten(0, -2).double()
    expected = definition(latents, ibq.codebook.detach().double(), 0.01)
    weights = {"commitment": 0.25, "token_entropy": 0.05, "batch_entropy": 0.05}
    for name in LOSSES:
        wanted = float(weights.get(name, 1) * expected[name])
        assert float(losses[name].detach()) == pytest.approx(wanted, rel=1e-3)
    assert lookup("ibq")(codebook_size=2).latent_channels == 256


def test_without_weight_no_entropy_is_computed(z):
    losses = make(entropy_weight=0.0)(z).losses
    assert set(losses) == {"codebook", "commitment", "quantization"}


def test_codes_start_with_a_standard_normal_distribution():
    codes = make(latent_channels=64, codebook_size=500).codebook.detach()
    assert abs(float(codes.mean())) < 0.02
    assert float(codes.var()) == pytest.approx(1, rel=0.03)
    assert float(codes.pow(4).mean()) == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"codebook_size": 1}, "codebook_size of at least 2, got 1"),
        ({"latent_channels": 0}, "latent_channels must be at least 1, got 0"),
        ({"temperature": 0.0}, "temperature must be finite and above 0, got 0.0"),
        ({"temperature": math.inf}, "temperature must be finite and above 0, got inf"),
        ({"entropy_weight": -1.0}, "entropy_weight must be .* got -1.0"),
        ({"commitment_weight": math.nan}, "commitment_weight must be .* got nan"),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        build_unchecked("ibq", **{"codebook_size": 4} | wrong)
