"""Quantizers on known sources: laws of information theory, and faults that must show."""

import math

import pytest
import torch
from torch import nn

from bench.command_line import UsageError
from bench.conf.methods import node, rates
from bench.source.fitting import Measurement, code_length, fit_to, measure
from bench.source.report import lloyd_max_gap_db
from bench.source.sources import SOURCES
from quantizers import Quantizer, QuantizerOutput, available, build
from quantizers.estimators import straight_through
from quantizers.registry import _QUANTIZERS

SAMPLING_ERROR_DB = 0.1
STEPS = 200


@pytest.fixture(autouse=True)
def few_vectors(monkeypatch):
    monkeypatch.setattr("bench.source.fitting.VECTORS", 1 << 13)


class WrongSignLFQ(Quantizer):
    """Emits the corner opposite to the latent."""

    def __init__(self, *, latent_channels: int = 8) -> None:
        super().__init__(
            latent_channels=latent_channels,
            codebook_sizes=build_lfq(latent_channels).codebook_sizes,
        )
        self.lfq = build_lfq(latent_channels)

    def quantize(self, z):
        output = self.lfq.quantize(-z)
        return QuantizerOutput(straight_through(z, output.quantized.detach()), output.indices)

    def dequantize(self, indices):
        return self.lfq.dequantize(indices)


class RVQWithoutResidual(Quantizer):
    """Both stages look up the latent itself."""

    def __init__(self, *, latent_channels: int = 8, codebook_size: int = 16) -> None:
        super().__init__(latent_channels=latent_channels, codebook_sizes=(codebook_size,) * 2)
        self.stages = nn.ModuleList(
            build("vq", latent_channels=latent_channels, codebook_size=codebook_size)
            for _ in range(2)
        )

    def quantize(self, z):
        first, second = (stage.quantize(z) for stage in self.stages)
        return QuantizerOutput(
            straight_through(z, (first.quantized + second.quantized).detach()),
            torch.cat([first.indices, second.indices], dim=1),
            {name: loss + second.losses[name] for name, loss in first.losses.items()},
        )

    def dequantize(self, indices):
        parts = zip(self.stages, indices.split(1, dim=1), strict=True)
        return sum(stage.dequantize(index) for stage, index in parts)


def build_lfq(channels: int) -> Quantizer:
    return build("lfq", latent_channels=channels)


def run(
    name: str, source: str = "gaussian", dimension: int = 2, *, rate: float = 8.0, **options
) -> Measurement:
    steps = options.pop("steps", STEPS)
    fitted = fit_to(node(name) | options, dimension, rate)
    return measure(fitted, SOURCES[source](dimension), steps=steps, learning_rate=0.02, seed=0)


def gap(row: Measurement) -> float:
    return row.gap_db(row.nominal_rate)


@pytest.mark.parametrize(
    ("name", "fault"), [("lfq", WrongSignLFQ), ("rvq", RVQWithoutResidual)], ids=["lfq", "rvq"]
)
def test_a_broken_quantizer_shows(name, fault, monkeypatch):
    monkeypatch.setitem(_QUANTIZERS._factories, "broken", fault)
    assert gap(run("broken")) > gap(run(name)) + 2


@pytest.mark.parametrize(
    ("source", "dimension"),
    [("gaussian", 2), pytest.param("sphere", 8, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("name", available())
def test_no_method_beats_shannon_at_the_rate_of_its_code(name, source, dimension):
    """A theorem, so it holds however short the training."""
    row = run(name, source, dimension, rate=min(rates(node(name))), steps=3)
    assert row.coded_rate <= row.nominal_rate
    if math.isfinite(row.coded_rate):
        assert row.gap_db(row.coded_rate) > -SAMPLING_ERROR_DB


@pytest.mark.parametrize(
    ("name", "codes", "best_db"),
    [
        ("vq", 4, 1.62),
        ("ema_vq", 16, 2.3),
        pytest.param("vq", 16, 2.3, marks=pytest.mark.slow),
        pytest.param("ema_vq", 4, 1.62, marks=pytest.mark.slow),
    ],
)
def test_a_trained_codebook_comes_close_to_the_best_that_is_known(name, codes, best_db):
    """Four codes in the plane do no better than two Lloyd-Max quantizers, sixteen codes do."""
    row = run(name, rate=math.log2(codes), codebook_size=codes, steps=400)
    assert best_db - SAMPLING_ERROR_DB < gap(row) < best_db + 0.4
    assert row.usage == 1


def test_one_scalar_a_group_comes_close_to_lloyd_max():
    row = run("product_vq", rate=4.0, groups=2, group_channels=1, codebook_size=4, steps=400)
    assert lloyd_max_gap_db(row.source, 4.0) - SAMPLING_ERROR_DB < gap(row)
    assert gap(row) < lloyd_max_gap_db(row.source, 4.0) + 0.2


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in available() if name != "random_code"])
def test_every_method_learns_to_beat_random_codes(name):
    """At its lowest rate, on the source and width on which all methods have enough codes."""
    row = run(name, "gaussian", 8, rate=min(rates(node(name))))
    assert row.distortion < 0.9
    assert row.point.control or row.usage > 0.01


def test_the_controls_bound_the_others():
    continuous, random = run("none"), run("random_code")
    assert continuous.distortion < 1e-6
    assert math.isnan(gap(continuous))
    assert random.distortion == pytest.approx(1, abs=0.02)


def test_the_same_seed_gives_the_same_numbers_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    first, second = run("ema_vq", steps=5), run("ema_vq", steps=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.distortion == second.distortion
    assert first.coded_rate == second.coded_rate


def test_a_method_of_free_width_gets_the_vectors_and_another_a_counted_layer():
    assert run("vq", dimension=3, steps=1).map_parameters == 0
    assert run("gsq", dimension=4, steps=1).map_parameters == 0
    assert run("gsq", dimension=3, steps=1).map_parameters == 16 * 3 + 16
    assert run("lfq", dimension=3, steps=1).map_parameters == 8 * 3 + 8


def test_a_diverged_training_is_a_row(monkeypatch):
    class Exploding(WrongSignLFQ):
        def quantize(self, z):
            output = super().quantize(z)
            return QuantizerOutput(output.quantized * float("inf"), output.indices)

    monkeypatch.setitem(_QUANTIZERS._factories, "broken", Exploding)
    assert math.isnan(run("broken", steps=3).distortion)


def test_more_codes_than_an_integer_holds_are_refused():
    with pytest.raises(UsageError, match="63 bits per vector; sources are measured up to 62"):
        run("grouped_lfq", rate=63.0, groups=9, group_channels=7)


def test_code_lengths_are_those_of_krichevsky_and_trofimov():
    known, coded = torch.tensor([0, 0, 3]), torch.tensor([0, 1, 3, 3])
    probabilities = [2.5 / 5, 0.5 / 5, 1.5 / 5, 1.5 / 5]
    expected = -sum(map(math.log2, probabilities)) / 4
    assert code_length(known, coded, 4) == pytest.approx(expected)


def test_the_code_length_of_uniform_symbols_is_their_number_of_bits():
    symbols = torch.randint(16, (20_000,), generator=torch.Generator().manual_seed(0))
    assert code_length(symbols[:10_000], symbols[10_000:], 16) == pytest.approx(4, abs=0.01)
