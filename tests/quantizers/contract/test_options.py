"""Laws of the contract about hyper-parameters: impossible ones are refused, and codes are free.

Every refusal is a ValueError at construction that says what came.
"""

import math
import tracemalloc
from collections.abc import Sequence

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from quantizers import available, build

# Codebooks of at least 2^36 codes that no memory could hold.
IMPLICIT = [
    ("fsq", {"levels": (8,) * 12}),
    ("fsq", {"levels": (8,) * 12, "symmetric": True}),
    ("ifsq", {"levels": (13,) * 10}),
    ("rfsq", {"levels": (8,) * 12, "stages": 2}),
    ("lfq", {"latent_channels": 36, "entropy_weight": 0.0}),
    ("bsq", {"latent_channels": 36, "entropy_weight": 0.0}),
    ("grouped_lfq", {"groups": 2, "group_channels": 36, "entropy_weight": 0.0}),
]


def impossible(key: str, value: float | str | Sequence[int] | None) -> list[object]:
    """Numbers that no method can accept for a hyper-parameter; the shape checks refuse words."""
    if isinstance(value, bool | str | None):
        return []
    if isinstance(value, int):
        return [0, -1, 1] if key == "codebook_size" else [0, -1]
    if isinstance(value, float):
        return [-1.0, math.nan, math.inf, -math.inf]
    return [(), (1, *value), (*value, 0), (*value, -3)]


@pytest.mark.parametrize("name", available())
def test_no_hyperparameter_takes_an_impossible_value(examples, name):
    values = {key: value for example in examples[name] for key, value in example.items()}
    for key, value in values.items():
        for bad in impossible(key, value):
            with pytest.raises(ValueError, match=r"\S") as refusal:
                build(name, **(examples[name][0] | {key: bad}))
            assert str(bad) in str(refusal.value), f"{key}={bad}: {refusal.value}"


@pytest.mark.parametrize(("name", "options"), IMPLICIT, ids=str)
def test_an_implicit_codebook_takes_no_memory(name, options):
    tracemalloc.start()
    quantizer = build(name, **options)
    _, python_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        quantizer = build(name, **options)
        z = torch.randn(8, quantizer.latent_channels, generator=torch.Generator().manual_seed(0))
        output = quantizer(z.requires_grad_())
        (output.quantized.sum() + sum(output.losses.values())).backward()
    assert min(quantizer.codebook_sizes) >= 2**36
    assert python_bytes < 1 << 20
    assert max(event.self_cpu_memory_usage for event in profiler.events()) < 1 << 20


@pytest.mark.parametrize(("name", "options"), IMPLICIT, ids=str)
def test_every_index_of_an_implicit_codebook_has_its_own_code(name, options):
    quantizer = build(name, **options)
    generator = torch.Generator().manual_seed(0)
    indices = torch.stack(
        [torch.randint(size, (1000,), generator=generator) for size in quantizer.codebook_sizes],
        dim=1,
    )
    indices[0], indices[1] = 0, torch.tensor(quantizer.codebook_sizes) - 1
    assert len(quantizer.dequantize(indices).unique(dim=0)) == 1000
    codes = quantizer.dequantize(indices)
    if "projection" not in quantizer.breaks:
        assert torch.equal(quantizer(codes).indices, indices)
