import os
import re
import signal
import time

import pytest
import torch

from bench.speed import __main__ as command
from bench.speed import code_search, exact_entropies, startup
from bench.speed.__main__ import DEFAULTS, SECTIONS, main
from bench.speed.code_search import Size
from bench.speed.comparison import Grid
from bench.speed.page import Section, Target, duration, markdown, megabytes, times
from bench.speed.profile import profiled
from bench.training.interrupt import StopRequest

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(code_search.GRIDS, "small", Grid([Size(32, 8, 2)], 1, 0.1, 50.0))
    monkeypatch.setattr(code_search, "QUERIES", ())
    monkeypatch.setattr(code_search, "warm_up", lambda *_: None)
    sizes = [exact_entropies.Size(6, 32, 8)]
    monkeypatch.setitem(exact_entropies.GRIDS, "small", Grid(sizes, 1))


def run(folder, sections: str) -> tuple[int, str]:
    """The exit code and the page."""
    code = main([f"sections={sections}", f"leaderboards={folder}", "device=cpu"])
    return code, (folder / "speed.md").read_text(encoding="utf-8")


def test_it_writes_a_page_of_the_chosen_sections_in_their_order(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("bench.speed.profile.where_time_goes", lambda sections, device: [])
    code, page = run(tmp_path, "entropy,search")
    assert code == 0
    headings = re.findall("^## (.*)", page, re.MULTILINE)
    assert headings == ["Targets", "Nearest-code search", "Exact entropies of LFQ", "Machine"]
    assert "python -m bench.speed sections=entropy,search device=cpu" in page
    assert str(tmp_path) not in page
    for fact in ("threads: ", "torch ", "scikit-learn ", "load average at the end"):
        assert fact in page
    shown = capsys.readouterr()
    assert f"written: {tmp_path / 'speed.md'}" in shown.out
    assert "search: N=32, V=8, d=2" in shown.err


def test_a_section_that_fails_is_shown_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    def broken(*_, **__):
        raise RuntimeError("no kernel")

    monkeypatch.setattr(code_search, "section", broken)
    code, page = run(tmp_path, "search,entropy")
    assert code == 1
    assert "## Search\n\nFailed: RuntimeError: no kernel" in page
    assert "## Exact entropies of LFQ" in page
    assert "search failed: RuntimeError: no kernel" in capsys.readouterr().err


def test_a_request_to_stop_keeps_what_there_is_and_begins_nothing(tmp_path, monkeypatch, capsys):
    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return measured(*arguments)

    measured = code_search.section
    monkeypatch.setattr(code_search, "section", interrupted)
    code, page = run(tmp_path, "search,entropy")
    assert code == 130
    assert "Left out for lack of time: the last 1 of 1 sizes." in page
    assert "entropies of LFQ" not in page
    assert f"written: {tmp_path / 'speed.md'}" in capsys.readouterr().out


def test_a_second_one_ends_at_once_and_the_page_holds_the_sections_before(
    tmp_path, monkeypatch, capsys
):
    def interrupted(*_):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(exact_entropies, "section", interrupted)
    code, page = run(tmp_path, "search,entropy")
    assert code == 130
    assert "## Nearest-code search" in page
    assert "stopped at once" in capsys.readouterr().err


def test_targets_that_are_missed_get_a_profile_of_their_call(tmp_path, monkeypatch):
    def missed(*_):
        a = torch.ones(64, 64)
        targets = [
            Target("fast", "9 times (a)", False, lambda: lambda: (a @ a).exp()),
            Target("reached", "1 times", True, lambda: pytest.fail("it is reached")),
            Target("no call", "9 times", False),
        ]
        return Section("Search", "Text.", [], targets)

    monkeypatch.setattr(code_search, "section", missed)
    code, page = run(tmp_path, "search")
    assert code == 0
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
        ("section=search", "unknown option 'section=search'; known: .*sections="),
        ("sections=serach", "unknown section 'serach'.*did you mean 'search'"),
        ("grid=large", "unknown grid 'large'; known: full, small"),
        ("device=tpu", "unknown device 'tpu'"),
        ("quantizer=vqq", "unknown quantizer 'vqq'.*did you mean 'vq'"),
        ("plugins=no_such_module", "plugin no_such_module cannot be imported"),
    ],
)
def test_a_typo_is_one_line(tmp_path, capsys, word, message):
    assert main([word, f"leaderboards={tmp_path}"]) == 2
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
    for word in (*(f"{option}=" for option in DEFAULTS), *SECTIONS):
        assert word in shown


@pytest.mark.parametrize(
    ("name", "file"),
    [("NVIDIA H200", "speed-h200.md"), ("NVIDIA H100 80GB HBM3", "speed-h100-80gb-hbm3.md")],
)
def test_the_page_of_a_gpu_is_named_after_it(name, file):
    assert command._file_name(name, "cuda", "small") == file
    assert command._file_name(name, "cuda", "full") == file.replace(".md", "-full.md")
    assert command._file_name("Xeon", "cpu", "small") == "speed.md"
    assert command._file_name("Xeon", "cpu", "full") == "speed-full.md"


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
    values = {"a": 1.0, "b": 2.0, "not measured": None}
    assert Target.of("t", values, times, at_most=2.0) == Target("t", "2 times (b)", True)
    assert Target.of("t", values, times, at_most=1.9).reached is False
    assert Target.of("t", values, times, at_least=1.0) == Target("t", "1 times (a)", True)
    assert Target.of("t", values, times, at_least=1.1).reached is False
    calls = {"a": lambda: None, "b": lambda: len}
    assert Target.of("t", values, times, at_most=1.9, calls=calls).make_call is calls["b"]
    assert Target.of("t", values, times, at_least=1.1, calls=calls).make_call is calls["a"]
    assert Target.of("t", {"a": None}, times, at_most=1.0) == Target("t", "-", None)


def test_numbers_have_units():
    assert [duration(0.01234), duration(1.2345)] == ["12.3 ms", "1.23 s"]
    assert [megabytes(12_345_678), megabytes(None)] == ["12 MB", "-"]


def test_start_up_is_the_difference_to_torch(monkeypatch):
    def pretended(bytecode, *words):
        text = " ".join(words)
        time.sleep(0.1 if "--help" in text else 0.03)
        return "0.09" if "quantizers" in text else ""

    monkeypatch.setattr(startup, "run", pretended)
    page = startup.section(Grid((), 1), CPU, StopRequest())
    assert [row["process"] for row in page.rows] == [
        "`python -c 'import torch'`",
        "`python -m bench.run --help`",
        "`import quantizers`, after torch",
    ]
    added, shown = page.targets
    assert (added.measured, added.reached) == ("90 ms (added)", True)
    assert (shown.measured[:2], shown.reached) == ("+0", True)


@pytest.mark.slow
def test_start_up_runs_in_fresh_processes():
    page = startup.section(Grid((), 1), CPU, StopRequest())
    assert all(target.reached is not None for target in page.targets)
