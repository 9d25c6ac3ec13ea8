import os
import re
import signal

import pytest
import torch

from bench.speed import __main__ as command
from bench.speed import entropy, search, startup
from bench.speed.__main__ import SECTIONS, main
from bench.speed.page import Section, duration, markdown, megabytes
from bench.speed.profile import profiled
from bench.speed.targets import Target, at_least, at_most, times

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    grid = search.Grid((32,), (8,), (2,), 1, 0.1, 5.0, queries=50, query_codes=16)
    monkeypatch.setitem(search.GRIDS, "small", grid)
    monkeypatch.setitem(entropy.GRIDS, "small", entropy.Size(6, 32, 8, 1))


def test_it_writes_a_page_of_the_chosen_sections_in_their_order(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("bench.speed.profile.where_time_goes", lambda targets, device: None)
    words = ["sections=entropy,search", f"leaderboards={tmp_path}", "device=cpu"]
    assert main(words) == 0
    page = (tmp_path / "speed.md").read_text(encoding="utf-8")
    headings = re.findall("^## (.*)", page, re.MULTILINE)
    assert headings == ["Targets", "Nearest-code search", "Exact entropies of LFQ", "Machine"]
    assert "python -m bench.speed sections=entropy,search device=cpu" in page
    assert str(tmp_path) not in page
    for fact in ("threads: ", "torch ", "scikit-learn ", "load average at the end"):
        assert fact in page
    shown = capsys.readouterr()
    assert f"written: {tmp_path / 'speed.md'}" in shown.out
    assert "search: N=32 V=8 d=2" in shown.err


def test_a_section_that_fails_is_shown_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    def broken(*_, **__):
        raise RuntimeError("no kernel")

    monkeypatch.setattr(search, "measure", broken)
    assert main(["sections=search,entropy", f"leaderboards={tmp_path}", "device=cpu"]) == 1
    page = (tmp_path / "speed.md").read_text(encoding="utf-8")
    assert "## Search\n\nFailed: RuntimeError: no kernel" in page
    assert "## Exact entropies of LFQ" in page
    assert "search failed: RuntimeError: no kernel" in capsys.readouterr().err


def test_a_request_to_stop_keeps_what_there_is_and_begins_nothing(tmp_path, monkeypatch, capsys):
    def interrupted(grid, device, *, stop):
        os.kill(os.getpid(), signal.SIGINT)
        return measured(grid, device, stop=stop)

    measured = search.measure
    monkeypatch.setattr(search, "measure", interrupted)
    assert main(["sections=search,entropy", f"leaderboards={tmp_path}", "device=cpu"]) == 130
    page = (tmp_path / "speed.md").read_text(encoding="utf-8")
    assert "Left out for lack of time: the last 1 of 1 sizes." in page
    assert "entropies of LFQ" not in page
    assert f"written: {tmp_path / 'speed.md'}" in capsys.readouterr().out


def test_a_second_one_ends_at_once_and_the_page_holds_the_sections_before(
    tmp_path, monkeypatch, capsys
):
    def interrupted(*_):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(entropy, "measure", interrupted)
    assert main(["sections=search,entropy", f"leaderboards={tmp_path}", "device=cpu"]) == 130
    page = (tmp_path / "speed.md").read_text(encoding="utf-8")
    assert "## Nearest-code search" in page
    assert "stopped at once" in capsys.readouterr().err


def test_targets_that_are_missed_get_a_profile_of_their_call(tmp_path, monkeypatch):
    def missed(grid, device, *, stop):
        a = torch.ones(64, 64)
        targets = [
            Target("fast", "9 times (a)", False, lambda: lambda: (a @ a).exp()),
            Target("reached", "1 times", True, lambda: pytest.fail("it is reached")),
            Target("no call", "9 times", False),
        ]
        return Section("Search", "Text.", [], targets)

    monkeypatch.setattr(search, "measure", missed)
    assert main(["sections=search", f"leaderboards={tmp_path}", "device=cpu"]) == 0
    page = (tmp_path / "speed.md").read_text(encoding="utf-8")
    profile = page[page.index("## Where time goes") : page.index("## Machine")]
    (row,) = [line for line in profile.splitlines() if line.startswith("| fast")]
    assert re.search(r"`aten::mm` x 1: \d+%", row)
    assert "`aten::exp` x 1: " in row
    assert "no call" not in profile


def test_a_profile_has_own_times_as_shares_and_counts_of_one_call():
    a = torch.ones(256, 256)
    found = profiled(lambda: a @ a @ a, CPU)
    assert found.flops == 2 * 2 * 256**3
    assert found.counts["aten::mm"] == 2
    assert next(iter(found.shares)) == "aten::mm"
    assert 0.5 < found.shares["aten::mm"] < sum(found.shares.values()) <= 1.05
    assert found.shares["aten::matmul"] < 0.2  # its products are not its own


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("section=search", "unknown option 'section=search'; known: sections="),
        ("sections=serach", "unknown section 'serach'.*did you mean 'search'"),
        ("grid=large", "unknown grid 'large'; known: full, small"),
        ("device=tpu", "unknown device 'tpu'"),
        ("quantizer=vqq", "unknown quantizer 'vqq'.*did you mean 'vq'"),
        ("plugins=no_such_module", "plugin no_such_module cannot be imported"),
    ],
)
def test_a_typo_is_one_line(tmp_path, capsys, word, message):
    assert main(["device=cpu", word, f"leaderboards={tmp_path}"]) == 2
    shown = capsys.readouterr().err
    assert re.search(message, shown)
    assert shown.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_says_what_to_type(tmp_path, capsys):
    assert main(["device=cuda", f"leaderboards={tmp_path}"]) == 2
    assert "type device=cpu" in capsys.readouterr().err


def test_help_shows_every_option_and_section(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for word in (*(f"{option}=" for option in command._OPTIONS), *SECTIONS):
        assert word in shown


@pytest.mark.parametrize(
    ("name", "file"),
    [("NVIDIA H200", "speed-h200.md"), ("NVIDIA H100 80GB HBM3", "speed-h100-80gb-hbm3.md")],
)
def test_the_page_of_a_gpu_is_named_by_it(monkeypatch, name, file):
    monkeypatch.setattr(command, "_name", lambda device: name)
    assert command._file_name(torch.device("cuda"), "small") == file
    assert command._file_name(torch.device("cuda"), "full") == file.replace(".md", "-full.md")
    assert command._file_name(torch.device("cpu"), "small") == "speed.md"
    assert command._file_name(torch.device("cpu"), "full") == "speed-full.md"


def test_the_page_has_a_verdict_beside_every_target():
    targets = [Target("a", "1", True), Target("b", "2", False), Target("c", "-", None)]
    page = markdown(
        [Section("One", "Text  that\nwraps.", [{"x": "1"}], targets), Section("Two", "No table.")],
        command="python -m bench.speed",
        device="a processor",
        facts={"threads": 2},
    )
    verdicts = re.findall(r"\| (reached|not reached|not measured) +\|", page)
    assert verdicts == ["reached", "not reached", "not measured"]
    assert "## One\n\nText that wraps.\n\n| x" in page
    assert "## Two\n\nNo table.\n\n## Machine\n\n- threads: 2" in page


def test_a_target_is_judged_by_its_worst_value():
    values = {"a": 1.0, "b": 2.0}
    assert at_most("t", values, 2.0, times) == Target("t", "2 times (b)", True)
    assert at_most("t", values, 1.9, times).reached is False
    assert at_least("t", values, 1.0, times) == Target("t", "1 times (a)", True)
    assert at_least("t", values, 1.1, times).reached is False
    calls = {"a": lambda: None, "b": lambda: len}
    assert at_most("t", values, 1.9, times, calls).set_out is calls["b"]
    assert at_least("t", values, 1.1, times, calls).set_out is calls["a"]
    assert at_most("t", {}, 1.0, times) == at_least("t", {}, 1.0, times) == Target("t", "-", None)


def test_numbers_have_units():
    assert [duration(0.01234), duration(1.2345)] == ["12.3 ms", "1.23 s"]
    assert [megabytes(12_345_678), megabytes(None)] == ["12 MB", "-"]


def test_start_up_is_the_difference_to_torch(monkeypatch):
    calls = []

    def pretended(*words):
        calls.append(words)
        text, compiles = " ".join(words), len(calls) <= 3
        seconds = 50.0 if compiles else 5.0 if "import torch" in text else 6.6
        return seconds, f"4.0 {0.9 if compiles else 0.09}\n" if "quantizers" in text else ""

    monkeypatch.setattr(startup, "_run", pretended)
    section = startup.measure(1)
    assert [row["time"] for row in section.rows] == ["5 s", "6.6 s", "90 ms"]
    added, shown = section.targets
    assert added.reached
    assert added.measured == "90 ms (added)"
    assert shown.reached is False
    assert shown.measured == "+1.60 s (difference)"


@pytest.mark.slow
def test_start_up_runs_in_fresh_processes():
    section = startup.measure(1)
    assert len(section.rows) == 3
    assert all(target.reached is not None for target in section.targets)
