"""No training step stores a matrix of all latents by all codes."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from quantizers import available, build

pytestmark = pytest.mark.usefixtures("way_to_search")
CODES, TOKENS = 1 << 14, 1 << 9
MATRIX_BYTES = 4 * CODES * TOKENS  # 32 MiB in float32

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
    # these train with the probabilities of all codes
    "ibq": {"latent_channels": 8},
    "gumbel_vq": {"latent_channels": 8},
    "lgq": {"latent_channels": 8},
}


def largest_allocation(name: str, **parameters: float) -> int:
    """Bytes of the largest allocation in a forward and backward pass."""
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


def test_the_entropies_of_gsq_hold_a_fraction_of_all_probabilities():
    shape = {"groups": 2, "group_channels": 4}
    assert largest_allocation("gsq", entropy_weight=0.1, **shape) <= MATRIX_BYTES // 4


def test_no_method_with_a_codebook_of_any_size_is_forgotten(examples):
    sized = {name for name in available() if "codebook_size" in examples[name][0]}
    assert sized == EXPLICIT.keys() | {"random_code"}
