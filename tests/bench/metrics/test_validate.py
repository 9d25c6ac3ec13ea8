import math
import re

import pytest
import torch

from bench.metrics import damage_plot, validate, weigh
from bench.metrics.distortions import DAMAGES
from bench.metrics.scattering import DIMENSION, scattering_identity
from bench.metrics.validate import Verdict, accepted, page
from bench.statistics.distribution import frechet_distance

GROWING = [1.0, 2.0, 3.0, 4.0, 5.0]


def verdicts(embedded, raw, random):
    return {scattering_identity(): embedded, "raw pixels": raw, "random network": random}


def verdict(*rows):
    return Verdict(distances={f"kind {number}": list(row) for number, row in enumerate(rows)})


def test_acceptance_needs_order_within_and_across_distortions_and_a_lead():
    good = verdict(GROWING, [x + 0.1 for x in GROWING])
    worse = verdict(GROWING, [x * 2 for x in GROWING])
    dip = verdict(GROWING, [1.0, 2.0, 3.0, 4.1, 4.05])
    apart = verdict(GROWING, [x * 100 for x in GROWING])
    assert accepted(verdicts(good, worse, worse))
    assert not accepted(verdicts(good, good, worse))  # no lead
    assert not accepted(verdicts(dip, worse, worse))
    assert not accepted(verdicts(apart, verdict(GROWING[::-1]), verdict(GROWING[::-1])))


def test_correlation_leaves_out_what_it_is_told_to():
    mixed = Verdict(distances={"a": GROWING, "b": GROWING[::-1]})
    assert mixed.correlation(["b"]) == pytest.approx(1)
    assert mixed.correlation() == pytest.approx(0)
    assert mixed.monotone == 1


def test_the_page_has_every_score_and_every_distance():
    falling = verdict(GROWING[::-1])
    text = re.sub(r" +", " ", page(verdicts(verdict(GROWING), falling, falling), 7))
    assert "\nAccepted: " in text
    assert "7 crops" in text
    assert "| raw pixels | 0 of 1 | -1.000 | -1.000 |" in text
    assert "| kind 0 | 1 | 2 | 3 | 4 | 5 |" in text


def test_the_random_network_is_fixed_and_as_wide_as_the_extractor(photographs):
    before = torch.get_rng_state()
    first, second = validate.random_network(), validate.random_network()
    assert torch.equal(torch.get_rng_state(), before)
    features = first(photographs(2, 32))
    assert features.shape == (2, DIMENSION)
    assert torch.equal(features, second(photographs(2, 32)))


def test_the_command_writes_the_page_and_the_picture(tmp_path, monkeypatch, photographs):
    monkeypatch.setattr(validate, "test_images", lambda _: photographs(40, 32))
    monkeypatch.setattr(validate, "DISTORTIONS", validate.DISTORTIONS[:1])
    code = validate.main([f"leaderboards={tmp_path}"])
    text = (tmp_path / "metrics.md").read_text()
    assert code == (0 if "\nAccepted" in text else 1)
    assert (tmp_path / "metrics.svg").read_text().count("<polyline") == 1


def test_a_typo_is_refused_with_exit_code_2(capsys):
    assert validate.main(["leaderboard=x"]) == 2
    assert "known: leaderboards=" in capsys.readouterr().err


def test_curves_span_the_plot_from_the_lowest_to_the_highest_point():
    svg = damage_plot.draw_curves({"a": [(0.01, 1.0), (0.1, 10.0), (1.0, 100.0)]})
    assert 'points="60.0,370.0 325.0,195.0 590.0,20.0"' in svg
    with pytest.raises(ValueError, match="above 0"):
        damage_plot.draw_curves({"a": [(0.0, 1.0)]})


def test_weighing_uses_the_distance_that_is_judged():
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(200, 6, generator=generator, dtype=torch.float64)
    damaged = 1.3 * reference + 0.2 + torch.randn(200, 6, generator=generator) / 3
    weights = torch.linspace(0.5, 2, 6, dtype=torch.float64)
    moments = (
        torch.cov(reference.T),
        (damaged.mean(0) - reference.mean(0))[None, None],
        torch.cov(damaged.T)[None, None],
    )
    expected = frechet_distance((reference * weights).numpy(), (damaged * weights).numpy())
    assert weigh.distances(moments, weights).item() == pytest.approx(expected, rel=1e-5)


def test_a_perfect_line_scatters_by_nothing():
    line = torch.tensor([math.exp(x) for x in range(len(DAMAGES))]).repeat(3, 1)
    assert weigh.scatter_around_line(line).item() == pytest.approx(0, abs=1e-9)
    apart = line * torch.tensor([[1.0], [math.e], [math.e**2]])
    expected = (2 / 3) / 4  # variance of -1, 0, 1 over the slope 2 a unit of the axis
    assert weigh.scatter_around_line(apart).item() == pytest.approx(expected, rel=1e-5)
