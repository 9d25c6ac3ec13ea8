"""Tuning: what a command line asks for, which settings are tried, and what runs."""

import shlex
from pathlib import Path

import pytest
from records import protocol, tuning_trial

from bench.command_line import UsageError, read_options
from bench.record import read_records, write_record
from bench.report.tuning import Trials
from bench.tune import _OPTIONS, _belongs, _complete_trials, main, read_request, settings


def asked(words):
    return read_request(read_options(words, _OPTIONS, takes=lambda word: True))


def test_only_trials_of_the_command_decide(monkeypatch):
    trials = Trials(tuple(tuning_trial(i, 20.0, w) for i, w in enumerate((0.25, 1.0, 0.1))))
    monkeypatch.setattr("bench.tune.VERSION", trials.records[0].protocol["version"])
    code = trials.records[0].protocol["evaluation_code"]
    monkeypatch.setattr("bench.tune.evaluation_code_sha256", lambda: code)
    two = asked(["quantizer=vq", "trials=2", "rate=10", "retry=true"])
    assert [_belongs(two, one) for one in trials.records] == [True, True, False]
    assert not _belongs(asked(["quantizer=vq", "trials=2", "rate=12"]), trials.records[0])
    monkeypatch.setattr("bench.tune.VERSION", "0.1")
    assert not _belongs(two, trials.records[0])


def test_drawn_settings_are_repeatable_fill_the_space_and_have_four_digits():
    first, *others = settings("vq", 9)
    weights = sorted(setting["commitment_weight"] for setting in others)
    assert first == {}  # the published setting
    assert 0.05 <= weights[0] < 0.2
    assert 0.6 < weights[-1] <= 2.0
    assert len(set(weights)) == 8
    assert all(float(f"{weight:.4g}") == weight for weight in weights)
    assert settings("vq", 3) == [first, *others][:3]


def test_a_method_without_a_space_keeps_its_setting():
    assert settings("none", 3) == [{}, {}, {}]


def test_a_command_line_is_read():
    request = asked(["quantizer=gsq,fs*", "trials=3", "recipe=smoke", "leaderboards=x"])
    assert request.quantizers == ("gsq", "fsq")
    assert request.trials == 3
    assert str(request.leaderboards) == "x"
    assert request.others == ("recipe=smoke",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quantizer=gsqq"], r"unknown quantizer 'gsqq'.*did you mean 'gsq'"),
        ([], "unknown quantizer"),
        (["quantizer=gsq", "trials=0"], "at least 1"),
        (["quantizer=gsq", "trials=two"], "at least 1"),
        (["quantizer=gsq", "seed=3"], "type seeds="),
        (["quantizer=gsq", "rate=8,10"], "one value at a time, got rate=8,10"),
        (["quantizer=gsq", "quantizer.groups=1"], "from YAML only"),
        (["quantizer=gsq", "seeds=1004"], "trials have the seeds from 1000"),
        (["quantizer=gsq", "seeds=x"], "whole number"),
    ],
)
def test_wrong_command_lines_say_what_to_type(arguments, message):
    with pytest.raises(UsageError, match=message):
        asked(arguments)


@pytest.fixture
def commands(monkeypatch):
    """What `bench.tune` would run; each trial leaves a record, better than the one before."""
    monkeypatch.setattr("bench.tune.VERSION", protocol()["version"])
    monkeypatch.setattr("bench.tune.evaluation_code_sha256", lambda: protocol()["evaluation_code"])
    typed, shown = [], []

    def sweep(arguments, *, show):
        typed.append(arguments)
        given = dict(argument.split("=") for argument in arguments)
        shown.append(show)
        if given.get("split") == "tune":
            number = int(given["seed"]) - 1000
            weight = float(given.get("quantizer.commitment_weight", 0.25))
            command = ["python", "-m", "bench.run", *arguments]
            command = [a for a in command if not a.startswith(("runs=", "leaderboards="))]
            one = tuning_trial(number, 20.0 + number, weight, command=shlex.join(command))
            write_record(Path(given["leaderboards"]) / "records", one)
        return 0

    monkeypatch.setattr("bench.tune.sweep", sweep)
    return typed, shown


def test_all_trials_then_the_choice_with_fresh_seeds(commands, tmp_path, capsys):
    line = ["quantizer=vq", "trials=3", "seeds=7,8", f"leaderboards={tmp_path}", "rate=10"]
    assert main(line) == 0
    typed, shown = commands
    *trials, final = typed
    assert [line[-3] for line in trials] == ["seed=1000", "seed=1001", "seed=1002"]
    assert all("split=tune" in line for line in trials)
    drawn = settings("vq", 3)[2]["commitment_weight"]
    assert f"quantizer.commitment_weight={drawn}" in final
    assert {"seed=7,8", "ruleset=tuned", "trials=3"} <= set(final)
    assert "split=tune" not in final
    assert shown == [False] * 3 + [True]
    assert "| vq | 3 | 20 | 21 | 21.67 | 22 |" in capsys.readouterr().out
    assert "best of 3" in (tmp_path / "tuning.md").read_text()


def test_ctrl_c_stops_the_command(monkeypatch, tmp_path):
    started = []

    def sweep(arguments, *, show):
        started.append(arguments)
        raise KeyboardInterrupt("stopped")

    monkeypatch.setattr("bench.tune.sweep", sweep)
    assert main(["quantizer=vq,gsq", "trials=3", f"leaderboards={tmp_path}"]) == 130
    assert len(started) == 1


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
    with pytest.raises(UsageError, match=r"expected 5 trials of each of gsq.*found \{\}"):
        _complete_trials(asked(["quantizer=gsq"]), tmp_path)
