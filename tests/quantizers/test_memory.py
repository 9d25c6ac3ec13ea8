"""No training step holds a matrix of all latents by all codes, unless the method needs one."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from quantizers import available, build

CODES, TOKENS = 1 << 14, 1 << 9
MATRIX_BYTES = 4 * CODES * TOKENS  # 32 MiB in float32

# The probabilities of all codes are what these train by.
SOFT = {"ibq", "gumbel_vq", "lgq"}

EXPLICIT = {
    "vq": {"latent_channels": 8},
    "cosine_vq": {"latent_channels": 8},
    "simvq": {"latent_channels": 8},
    "ema_vq": {"latent_channels": 8},
    "group_vq": {"latent_channels": 8, "codebook_groups": 4},
    "fvq": {"latent_channels": 8, "bridge_tokens": 256, "bridge_channels": 16},
    "gsq": {"groups": 2, "group_channels": 4},
    "product_vq": {"groups": 2, "group_channels": 4},
    "mgvq": {"groups": 2, "group_channels": 4},
    "rvq": {"latent_channels": 8, "stages": 2},
    "residual_gsq": {"groups": 2, "group_channels": 4, "stages": 2},
}


def largest_allocation(name: str, **parameters: int) -> int:
    """Bytes of the largest one in a forward and backward pass."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        quantizer = build(name, codebook_size=CODES, **parameters).train()
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1, quantizer.latent_channels, TOKENS, generator=generator, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        output = quantizer(z)
        (output.quantized.sum() + sum(output.losses.values())).backward()
    return max(event.self_cpu_memory_usage for event in profiler.events())


@pytest.mark.parametrize("name", EXPLICIT)
def test_a_training_step_holds_a_fraction_of_all_distances(name):
    assert largest_allocation(name, **EXPLICIT[name]) <= MATRIX_BYTES // 4


@pytest.mark.parametrize("name", sorted(SOFT))
def test_a_soft_code_holds_one_probability_for_each_token_and_code(name):
    assert largest_allocation(name, latent_channels=8) >= MATRIX_BYTES


def test_every_method_with_a_codebook_of_any_size_is_one_or_the_other(examples):
    sized = {name for name in available() if "codebook_size" in examples[name][0]}
    assert sized == SOFT | EXPLICIT.keys() | {"random_code"}
