"""Pages of tuning: which trial is chosen, and what the summary shows."""

import itertools
import math
import statistics

import pytest
from records import tuning_trial

from bench.record import write_record
from bench.report.tuning import Trials, page, read_trials, typed_beside


@pytest.fixture
def trials():
    values = [(20.0, 0.25), (22.0, 1.0), (21.0, 0.1)]
    return Trials(tuple(tuning_trial(i, psnr, weight) for i, (psnr, weight) in enumerate(values)))


def test_the_best_trial_is_chosen_with_its_setting(trials):
    assert trials.chosen.seed == 1001
    assert trials.setting(trials.chosen) == {"commitment_weight": 1.0}


def test_a_collapsed_trial_is_never_chosen():
    good = tuning_trial(0, 20.0, 0.25)
    collapsed = tuning_trial(1, 25.0, 1.0, status="collapsed", reason="x")
    assert Trials((good, collapsed)).chosen.seed == 1000


def test_of_equal_trials_the_published_setting_is_chosen():
    assert Trials((tuning_trial(0, 20.0, 0.25), tuning_trial(1, 20.0, 1.0))).chosen.seed == 1000


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_expected_best_is_the_mean_over_all_subsets(trials, count):
    subsets = itertools.combinations(trials.values, count)
    expected = statistics.fmean(max(subset) for subset in subsets)
    assert trials.expected_best(count) == pytest.approx(expected)


def test_the_expected_best_survives_a_failed_trial():
    failed = tuning_trial(1, 25.0, 1.0, status="diverged", reason="x", metrics={})
    both = Trials((tuning_trial(0, 20.0, 0.25), failed))
    assert both.expected_best(2) == 20.0
    assert both.expected_best(1) == -math.inf


def test_trials_are_found_by_what_was_typed_beside_them(tmp_path, trials):
    for one in trials.records:
        write_record(tmp_path / "records", one)
    (found,) = read_trials(tmp_path, lambda one: typed_beside(one) == ["rate=10"])
    assert [one.seed for one in found.records] == [1000, 1001, 1002]
    assert read_trials(tmp_path, lambda one: typed_beside(one) == ["rate=12"]) == []
    assert len(read_trials(tmp_path)) == 1


def test_the_page_shows_the_curve_and_the_choice(trials):
    (line,) = (line for line in page([trials]).splitlines() if line.startswith("| vq"))
    assert line == "| vq | 3 | 20 | 21 | 21.67 | 22 | commitment_weight=1 |"
    assert "did not end well" not in page([trials])


def test_the_page_names_failed_trials_and_shows_no_infinity():
    failed = tuning_trial(1, 25.0, 1.0, status="collapsed", reason="perplexity 1 of 1024 codes")
    text = page([Trials((tuning_trial(0, 20.0, 0.25), failed))])
    (line,) = (line for line in text.splitlines() if line.startswith("| vq"))
    assert line == "| vq | 2 | 20 | failed | 20 | commitment_weight=0.25 |"
    assert "- vq, trial 2 (codebook_size=1024): collapsed: perplexity 1 of 1024 codes" in text


def test_the_page_gives_the_command(trials):
    assert "    python -m bench.tune quantizer=vq trials=3 rate=10\n" in page([trials])
