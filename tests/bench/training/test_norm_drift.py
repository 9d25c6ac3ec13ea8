import math

import pytest
import torch

from bench.training.norm_drift import NormDrift
from quantizers import build

CODES = {"latent_channels": 4, "codebook_size": 16}


def test_codes_that_stay_have_no_drift():
    assert NormDrift(build("vq", **CODES)).values() == {"code_norm_drift": 0.0}


@pytest.mark.parametrize("name", ["vq", "ema_vq"])
def test_codes_of_twice_the_length_drift_by_one(name):
    quantizer = build(name, **CODES)
    drift = NormDrift(quantizer)
    quantizer.codebook.data *= 2
    assert drift.values()["code_norm_drift"] == pytest.approx(1.0, rel=1e-6)


def test_a_rotation_moves_codes_but_no_norm():
    quantizer = build("vq", **CODES)
    drift = NormDrift(quantizer)
    quantizer.codebook.data = quantizer.codebook.data.roll(1, dims=1)
    assert drift.values()["code_norm_drift"] == pytest.approx(0.0, abs=1e-6)


def test_drift_is_the_rms_of_changes_over_the_rms_at_the_start():
    quantizer = build("vq", latent_channels=2, codebook_size=2)
    quantizer.codebook.data = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    drift = NormDrift(quantizer)
    quantizer.codebook.data = torch.tensor([[6.0, 8.0], [0.0, 4.0]])
    assert drift.values()["code_norm_drift"] == pytest.approx(math.sqrt((25 + 9) / (25 + 1)))


def test_drift_is_a_mean_over_codebooks_of_unequal_scale():
    quantizer = build("gsq", groups=2, group_channels=3, codebook_size=8, shared=False)
    quantizer.codebook.data[0] *= 100
    drift = NormDrift(quantizer)
    quantizer.codebook.data[1] *= 3
    assert drift.values()["code_norm_drift"] == pytest.approx((0 + 2) / 2, rel=1e-6)


def test_codebooks_in_parts_of_a_method_count():
    quantizer = build("rvq", latent_channels=4, codebook_size=8, stages=2)
    drift = NormDrift(quantizer)
    for part in quantizer.modules():
        if isinstance(getattr(part, "codebook", None), torch.Tensor):
            part.codebook.data *= 1.5
    assert drift.values()["code_norm_drift"] == pytest.approx(0.5, rel=1e-6)


def test_a_computed_codebook_is_read_as_the_method_computes_it():
    quantizer = build("simvq", **CODES)
    drift = NormDrift(quantizer)
    quantizer.projection.weight.data *= 4
    assert drift.values()["code_norm_drift"] == pytest.approx(3.0, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("fsq", {"levels": (8, 5, 5)}), ("lfq", {"latent_channels": 5}), ("none", {}), ("kl", {})],
)
def test_a_method_without_explicit_codes_has_no_drift(name, settings):
    assert NormDrift(build(name, **settings)).values() == {}


def test_the_global_random_stream_is_not_touched():
    quantizer = build("fvq", codebook_size=16, bridge_tokens=4, bridge_channels=8).train()
    before = torch.get_rng_state()
    NormDrift(quantizer).values()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in quantizer.parameters())
