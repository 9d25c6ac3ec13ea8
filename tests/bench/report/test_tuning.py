"""Tuning: what a command line asks for, which settings are tried, which one is chosen."""

import itertools
import math
import shlex
import statistics
from pathlib import Path

import pytest
from records import protocol, record

from bench.record import read_records, table_name, write_record
from bench.report.tuning import Trials, page, read_trials, typed_beside
from bench.tune import TuneError, _belongs, _complete_trials, main, parse, settings


def trial(number, psnr, weight, **changes):
    seed = 1000 + number
    setting = "" if number == 0 else f" quantizer.commitment_weight={weight}"
    facts = {
        "run": f"{table_name(protocol())}-vq-{weight}-seed{seed}",
        "quantizer": {
            "name": "vq",
            "hyperparameters": {"codebook_size": 1024, "commitment_weight": weight},
            "operating_point": "codebook_size=1024",
            "control": None,
        },
        "command": f"python -m bench.run quantizer=vq{setting} rate=10 seed={seed} split=tune",
    }
    return record("vq", seed, psnr, **(facts | changes))


@pytest.fixture
def trials():
    values = [(20.0, 0.25), (22.0, 1.0), (21.0, 0.1)]
    return Trials(tuple(trial(i, psnr, weight) for i, (psnr, weight) in enumerate(values)))


def test_the_best_trial_is_chosen_with_its_setting(trials):
    assert trials.chosen.seed == 1001
    assert trials.setting(trials.chosen) == {"commitment_weight": 1.0}


def test_a_collapsed_trial_is_never_chosen():
    good, collapsed = trial(0, 20.0, 0.25), trial(1, 25.0, 1.0, status="collapsed", reason="x")
    assert Trials((good, collapsed)).chosen.seed == 1000


def test_of_equal_trials_the_published_setting_is_chosen():
    assert Trials((trial(0, 20.0, 0.25), trial(1, 20.0, 1.0))).chosen.seed == 1000


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_expected_best_is_the_mean_over_all_subsets(trials, count):
    subsets = itertools.combinations(trials.values, count)
    expected = statistics.fmean(max(subset) for subset in subsets)
    assert trials.expected_best(count) == pytest.approx(expected)


def test_the_expected_best_survives_a_failed_trial():
    failed = trial(1, 25.0, 1.0, status="diverged", reason="x", metrics={})
    both = Trials((trial(0, 20.0, 0.25), failed))
    assert both.expected_best(2) == 20.0
    assert both.expected_best(1) == -math.inf


def test_trials_are_found_by_what_was_typed_beside_them(tmp_path, trials):
    for one in trials.records:
        write_record(tmp_path / "records", one)
    (found,) = read_trials(tmp_path, lambda one: typed_beside(one) == ["rate=10"])
    assert [one.seed for one in found.records] == [1000, 1001, 1002]
    assert read_trials(tmp_path, lambda one: typed_beside(one) == ["rate=12"]) == []
    assert len(read_trials(tmp_path)) == 1


def test_only_trials_of_the_command_decide(monkeypatch, trials):
    monkeypatch.setattr("bench.tune.VERSION", trials.records[0].protocol["version"])
    code = trials.records[0].protocol["evaluation_code"]
    monkeypatch.setattr("bench.tune.evaluation_code_sha256", lambda: code)
    two = parse(["quantizer=vq", "trials=2", "rate=10", "retry=true"])
    assert [_belongs(two, one) for one in trials.records] == [True, True, False]
    assert not _belongs(parse(["quantizer=vq", "trials=2", "rate=12"]), trials.records[0])
    monkeypatch.setattr("bench.tune.VERSION", "0.1")
    assert not _belongs(two, trials.records[0])


def test_the_page_shows_the_curve_and_the_choice(trials):
    (line,) = (line for line in page([trials]).splitlines() if line.startswith("| vq"))
    assert line == "| vq | 3 | 20 | 21 | 21.67 | 22 | commitment_weight=1 |"
    assert "did not end well" not in page([trials])


def test_the_page_names_failed_trials_and_shows_no_infinity():
    failed = trial(1, 25.0, 1.0, status="collapsed", reason="perplexity 1 of 1024 codes")
    text = page([Trials((trial(0, 20.0, 0.25), failed))])
    (line,) = (line for line in text.splitlines() if line.startswith("| vq"))
    assert line == "| vq | 2 | 20 | failed | 20 | commitment_weight=0.25 |"
    assert "- vq, trial 2 (codebook_size=1024): collapsed: perplexity 1 of 1024 codes" in text


def test_the_page_gives_the_command(trials):
    assert "    python -m bench.tune quantizer=vq trials=3 rate=10\n" in page([trials])


def test_drawn_settings_have_four_digits():
    for setting in settings("bsq", 9):
        assert all(float(f"{value:.4g}") == value for value in setting.values())


def test_the_first_trial_is_the_published_setting_and_the_others_fill_the_space():
    first, *others = settings("vq", 9)
    weights = sorted(setting["commitment_weight"] for setting in others)
    assert first == {}
    assert 0.05 <= weights[0] < 0.2
    assert 0.6 < weights[-1] <= 2.0
    assert len(set(weights)) == 8


def test_the_same_trials_are_drawn_each_time():
    assert settings("ibq", 5) == settings("ibq", 5)


def test_fewer_trials_are_the_first_of_more():
    assert settings("lfq", 3) == settings("lfq", 5)[:3]


def test_a_method_without_a_space_keeps_its_setting():
    assert settings("none", 3) == [{}, {}, {}]


def test_a_command_line_is_read():
    request = parse(["quantizer=gsq,fs*", "trials=3", "recipe=smoke", "leaderboards=x"])
    assert request.quantizers == ("gsq", "fsq")
    assert request.trials == 3
    assert str(request.leaderboards) == "x"
    assert request.others == ("recipe=smoke",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quantizer=gsqq"], r"unknown quantizer 'gsqq'.*did you mean 'gsq'"),
        ([], "unknown quantizer"),
        (["quantizer=gsq", "trials=0"], "at least 1, got '0'"),
        (["quantizer=gsq", "trials=two"], "at least 1, got 'two'"),
        (["quantizer=gsq", "seed=3"], "type seeds="),
        (["quantizer=gsq", "rate=8,10"], "one value at a time, got rate=8,10"),
        (["quantizer=gsq", "quantizer.groups=1"], "from YAML alone"),
        (["quantizer=gsq", "seeds=1004"], "those of trials"),
        (["quantizer=gsq", "seeds=x"], "whole numbers"),
    ],
)
def test_wrong_command_lines_say_what_to_type(arguments, message):
    with pytest.raises(TuneError, match=message):
        parse(arguments)


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """What `bench.tune` would run; a trial leaves a record, which is the better the later."""
    monkeypatch.setattr("bench.tune.VERSION", protocol()["version"])
    monkeypatch.setattr("bench.tune.evaluation_code_sha256", lambda: protocol()["evaluation_code"])
    typed = []

    def run(arguments):
        typed.append(arguments)
        given = dict(argument.split("=") for argument in arguments)
        print(f"table {len(typed)}")
        if given.get("split") == "tune":
            number = int(given["seed"]) - 1000
            weight = float(given.get("quantizer.commitment_weight", 0.25))
            command = ["python", "-m", "bench.run", *arguments]
            command = [a for a in command if not a.startswith(("runs=", "leaderboards="))]
            one = trial(number, 20.0 + number, weight, command=shlex.join(command))
            write_record(Path(given["leaderboards"]) / "records", one)
        return 0

    monkeypatch.setattr("bench.tune.run", run)
    return typed


def test_all_trials_then_the_choice_with_fresh_seeds(commands, tmp_path, capsys):
    line = ["quantizer=vq", "trials=3", "seeds=7,8", f"leaderboards={tmp_path}", "rate=10"]
    assert main(line) == 0
    *trials_of_it, final = commands
    assert [typed[-3] for typed in trials_of_it] == ["seed=1000", "seed=1001", "seed=1002"]
    assert all("split=tune" in typed for typed in trials_of_it)
    drawn = settings("vq", 3)[2]["commitment_weight"]
    assert f"quantizer.commitment_weight={drawn}" in final
    assert {"seed=7,8", "ruleset=tuned", "trials=3"} <= set(final)
    assert "split=tune" not in final
    printed = capsys.readouterr().out
    assert [f"table {number}" in printed for number in (1, 2, 3, 4)] == [False] * 3 + [True]
    assert "| vq | 3 | 20 | 21 | 21.67 | 22 |" in printed
    assert "best of 3" in (tmp_path / "tuning.md").read_text()


def test_an_interrupted_trial_stops_the_command(monkeypatch, tmp_path):
    codes = iter([0, 130])
    monkeypatch.setattr("bench.tune.run", lambda arguments: next(codes))
    assert main(["quantizer=vq,gsq", "trials=3", f"leaderboards={tmp_path}"]) == 130


def test_an_interrupted_final_run_stops_the_command(commands, monkeypatch, tmp_path):
    line = ["quantizer=vq,gsq", "trials=1", f"leaderboards={tmp_path}", "rate=10"]
    one = trial(0, 20.0, 0.25)
    monkeypatch.setattr("bench.tune._complete_trials", lambda *_: [Trials((one,))] * 2)
    finals = []

    def run(arguments):
        finals.append("ruleset=tuned" in arguments)
        return 130 if finals[-1] else 0

    monkeypatch.setattr("bench.tune.run", run)
    assert main(line) == 130
    assert finals.count(True) == 1


@pytest.mark.slow
def test_tuning_is_one_command(arguments, tmp_path):
    line = [*arguments, "quantizer=lfq", "trials=2", "seeds=5", "rate=8"]
    assert main(line) in (0, 1)
    (tuned,), problems = read_records(tmp_path / "leaderboards" / "records")
    trials, _ = read_records(tmp_path / "leaderboards" / "trials" / "records")
    assert not problems
    assert sorted(one.seed for one in trials) == [1000, 1001]
    assert tuned.tuning == {"ruleset": "tuned", "trials": 2}
    assert "| lfq | 2 |" in (tmp_path / "leaderboards" / "tuning.md").read_text()


def test_missing_trials_are_an_error(tmp_path):
    with pytest.raises(TuneError, match=r"expected 5 trials of each of gsq.*found \{\}"):
        _complete_trials(parse(["quantizer=gsq"]), tmp_path)
