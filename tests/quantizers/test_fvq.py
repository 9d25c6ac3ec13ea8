"""Facts of FVQ (VQBridge): Chang et al. 2025."""

import inspect
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from unchecked import build_unchecked

from quantizers import Quantizer, build, lookup


def make(**parameters) -> Quantizer:
    small = {"latent_channels": 3, "codebook_size": 12, "bridge_tokens": 4, "bridge_channels": 8}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build("fvq", **small | parameters)


@pytest.fixture
def z():
    return torch.randn(4, 3, 5, 2, generator=torch.Generator().manual_seed(1))


def vq_of(quantizer: Quantizer) -> Quantizer:
    """VQ with the codes that the bridge emits."""
    size, channels = quantizer.core.shape
    vq = build("vq", latent_channels=channels, codebook_size=size)
    vq.load_state_dict({"codebook": quantizer.codebook.detach()})
    return vq


def test_with_an_identity_bridge_it_is_vq(z):
    quantizer = make(bridge_channels=9, bridge_heads=3)
    with torch.no_grad():
        for name, parameter in quantizer.named_parameters():
            if "core" not in name:
                parameter.zero_()
        for layer in (quantizer.compress, quantizer.recover):
            layer.weight.copy_(torch.eye(9))
    assert torch.equal(quantizer.codebook, quantizer.core)
    vq = vq_of(quantizer)
    latents = [z.clone().requires_grad_(), z.clone().requires_grad_()]
    outputs = [quantizer(latents[0]), vq(latents[1])]
    assert torch.equal(outputs[0].indices, outputs[1].indices)
    assert torch.equal(outputs[0].quantized, outputs[1].quantized)
    totals = [o.quantized.sin().sum() + sum(o.losses.values()) for o in outputs]
    found = torch.autograd.grad(totals[0], [latents[0], quantizer.core])
    expected = torch.autograd.grad(totals[1], [latents[1], vq.codebook])
    torch.testing.assert_close(found, expected)


def test_without_the_bridge_the_codes_it_emits_do_the_same(z):
    quantizer = make().eval()
    output, expected = quantizer(z), vq_of(quantizer)(z)
    assert torch.equal(output.indices, expected.indices)
    assert torch.equal(output.quantized, expected.quantized)
    assert output.losses.keys() == expected.losses.keys()
    for name, loss in output.losses.items():
        torch.testing.assert_close(loss, expected.losses[name])


def test_the_codebook_is_compressed_processed_and_recovered():
    """Against torch's own encoder layer, with the same weights."""
    quantizer = make(bridge_heads=2)
    layers = [nn.TransformerEncoderLayer(8, 2, 16, 0, "gelu", norm_first=True) for _ in range(2)]
    for layer, block in zip(layers, quantizer.process, strict=True):
        pairs = {
            "self_attn.in_proj_": block.queries_keys_values,
            "self_attn.out_proj.": block.attended,
            "linear1.": block.mlp[0],
            "linear2.": block.mlp[2],
            "norm1.": block.attention_norm,
            "norm2.": block.mlp_norm,
        }
        state = {
            prefix + name: value
            for prefix, module in pairs.items()
            for name, value in module.state_dict().items()
        }
        layer.load_state_dict(state)
    tokens = quantizer.compress(quantizer.core.reshape(4, 9)) + quantizer.positions
    for layer in layers:
        tokens = layer(tokens)
    expected = quantizer.recover(tokens).reshape(12, 3)
    torch.testing.assert_close(quantizer.codebook, expected)


def test_the_gradient_of_one_code_moves_all_of_them():
    quantizer = make()
    before = quantizer.codebook.detach()
    latent = before[5:6].clone() + 0.01
    output = quantizer(latent)
    assert output.indices.item() == 5
    output.losses["codebook"].backward()
    assert quantizer.core.grad.any(dim=1).all()
    with torch.no_grad():
        for parameter in quantizer.parameters():
            parameter -= parameter.grad
    moved = (quantizer.codebook - before).norm(dim=1)
    assert (moved > 0).all()


def test_losses_are_those_of_vq_with_the_gradient_through_the_bridge(z):
    quantizer = make(commitment_weight=0.7)
    output = quantizer(z.requires_grad_())
    code = F.embedding(output.indices.squeeze(1), quantizer.codebook).movedim(-1, 1)
    expected = {
        "codebook": (code - z.detach()).square().mean(),
        "commitment": 0.7 * (code.detach() - z).square().mean(),
    }
    assert output.losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(output.losses[name], value)
    wanted = [z, *quantizer.parameters()]
    found = torch.autograd.grad(sum(output.losses.values()), wanted)
    gradients = torch.autograd.grad(sum(expected.values()), wanted)
    torch.testing.assert_close(found, gradients)


def test_the_output_trains_the_encoder_alone(z):
    quantizer = make()
    output = quantizer(z.requires_grad_())
    wanted = [z, *quantizer.parameters()]
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(2))
    found = torch.autograd.grad(output.quantized, wanted, upstream, allow_unused=True)
    assert torch.equal(found[0], upstream)
    assert all(gradient is None for gradient in found[1:])


def test_decoding_under_autocast_changes_no_code(z):
    quantizer = make()
    output = quantizer(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(quantizer.dequantize(output.indices), output.quantized)


def test_defaults_and_start_values():
    parameters = inspect.signature(lookup("fvq")).parameters
    needed = {"codebook_size", "bridge_tokens", "bridge_channels"}
    assert {key: parameters[key].default for key in parameters if key not in needed} == {
        "latent_channels": 8,
        "bridge_blocks": 2,
        "bridge_heads": 4,
        "commitment_weight": 0.25,
    }
    quantizer = make(codebook_size=2000, bridge_tokens=50, bridge_channels=64)
    assert float(quantizer.core.detach().var()) == pytest.approx(1, rel=0.05)
    assert float(quantizer.positions.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert quantizer.compress.weight.shape == (64, 2000 // 50 * 3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"codebook_size": 1, "bridge_tokens": 1}, "codebook_size of at least 2 .* got 1 and 1"),
        ({"bridge_tokens": 5}, "that divide it, got 12 and 5"),
        ({"bridge_tokens": 0}, "got 12 and 0"),
        ({"bridge_blocks": 0}, "bridge_blocks >= 1.* got 0, 4 and 8"),
        ({"bridge_heads": 0}, "got 2, 0 and 8"),
        ({"bridge_channels": 0}, "got 2, 4 and 0"),
        ({"bridge_heads": 3}, "divide bridge_channels, got 3 and 8"),
        ({"latent_channels": 0}, "latent_channels must be at least 1, got 0"),
        ({"commitment_weight": math.nan}, "commitment_weight must be .* got nan"),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, message):
    small = {"codebook_size": 12, "bridge_tokens": 4, "bridge_channels": 8}
    with pytest.raises(ValueError, match=message):
        build_unchecked("fvq", **small | wrong)
