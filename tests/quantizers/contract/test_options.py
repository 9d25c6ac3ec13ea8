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

# Options that are possible alone but not together, or beyond a limit of the method, and the words
# that the message must hold.
IMPOSSIBLE = [
    ("vq", {"codebook_size": 1}, ["1"]),
    ("vq", {"codebook_size": 4, "latent_channels": 1, "estimator": "rotation"}, ["rotation", "2"]),
    ("cosine_vq", {"codebook_size": 4, "latent_channels": 1}, ["latent_channels", "1"]),
    ("simvq", {"codebook_size": 4, "latent_channels": 1, "estimator": "rotation"}, ["rotation"]),
    ("ema_vq", {"codebook_size": 4, "decay": 1.0}, ["decay", "1.0"]),
    ("ema_vq", {"codebook_size": 4, "revival_threshold": 1.0}, ["revival_threshold", "1.0"]),
    ("group_vq", {"codebook_size": 10, "codebook_groups": 3}, ["divide", "10", "3"]),
    ("group_vq", {"codebook_size": 4, "codebook_groups": 8}, ["divide", "4", "8"]),
    (
        "gsq",
        {"groups": 4, "group_channels": 1, "codebook_size": 4, "estimator": "rotation"},
        ["rotation"],
    ),
    (
        "product_vq",
        {"groups": 4, "group_channels": 1, "codebook_size": 4, "estimator": "rotation"},
        ["rotation"],
    ),
    (
        "rvq",
        {"codebook_size": 4, "stages": 2, "latent_channels": 1, "estimator": "rotation"},
        ["rotation"],
    ),
    ("rvq", {"codebook_size": 1, "stages": 2}, ["codebook_size", "1"]),
    ("fsq", {"levels": (8,) * 21}, [str(2**63), "2^63"]),
    ("fsq", {"levels": (8,) * 12, "entropy_weight": 0.1}, [str(2**36), "entropy_weight=0"]),
    ("ifsq", {"levels": (3,) * 40}, [str(3**40), "2^63"]),
    ("ifsq", {"levels": (3, 4)}, ["odd", "(3, 4)"]),
    ("ifsq", {"levels": (3, 1)}, ["odd", "(3, 1)"]),
    ("rfsq", {"levels": (8,) * 21, "stages": 1}, [str(2**63), "2^63"]),
    ("lfq", {"latent_channels": 63, "entropy_weight": 0.0}, ["62", "63"]),
    ("lfq", {"latent_channels": 36}, [str(2**36), "entropy_weight=0"]),
    ("bsq", {"latent_channels": 63, "entropy_weight": 0.0}, ["62", "63"]),
    ("bsq", {"latent_channels": 36}, [str(2**36), "entropy_weight=0"]),
    ("bsq", {"latent_channels": 1}, ["2 to 62", "1"]),
    ("grouped_lfq", {"groups": 1, "group_channels": 63, "entropy_weight": 0.0}, ["62", "63"]),
    ("grouped_lfq", {"groups": 1, "group_channels": 36}, [str(2**36), "entropy_weight=0"]),
]

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


@pytest.mark.parametrize(("name", "options", "words"), IMPOSSIBLE, ids=str)
def test_impossible_options_are_refused_with_their_values(name, options, words):
    with pytest.raises(ValueError, match=r"\S") as refusal:
        build(name, **options)
    for word in words:
        assert word in str(refusal.value)


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
