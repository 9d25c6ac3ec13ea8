import re

import pytest

from bench.source.__main__ import main

FAST = {"steps": "2", "dimension": "2", "source": "gaussian"}


@pytest.fixture(autouse=True)
def few_vectors(monkeypatch):
    monkeypatch.setattr("bench.source.fitting.VECTORS", 1 << 10)


@pytest.fixture
def command(tmp_path):
    """Runs the command with few steps; a word replaces the fast setting of the same key."""

    def run(*words: str) -> int:
        given = {word.partition("=")[0] for word in words}
        fast = [f"{key}={value}" for key, value in FAST.items() if key not in given]
        return main([f"leaderboards={tmp_path}", *fast, *words])

    return run


def test_it_writes_a_page_and_a_plot_of_every_method_named(command, tmp_path, capsys):
    assert command("quantizer=fsq,vq,none", "source=all") == 0
    page = (tmp_path / "source.md").read_text(encoding="utf-8")
    for line in (
        "# Known sources",
        "*Lloyd-Max*",
        "`fsq`",
        "`vq`",
        "`none`",
        "sphere 2",
        "mixture",
    ):
        assert line in page
    plot = (tmp_path / "source.svg").read_text(encoding="utf-8")
    assert plot.startswith("<svg")
    assert ">vq</text>" in plot
    assert ">none</text>" not in plot  # it has no rate, so no gap
    assert capsys.readouterr().out.count("written: ") == 2


def test_the_same_command_gives_the_same_bytes(command, tmp_path):
    pages = []
    for _ in range(2):
        assert command("quantizer=ema_vq,gumbel_vq") == 0
        pages.append([(tmp_path / name).read_bytes() for name in ("source.md", "source.svg")])
    assert pages[0] == pages[1]


def test_another_seed_gives_another_page(command, tmp_path):
    pages = []
    for seed in (0, 1):
        assert command("quantizer=vq", f"seed={seed}") == 0
        pages.append((tmp_path / "source.md").read_text().split("## Protocol")[0])
    assert pages[0].splitlines()[1:] != pages[1].splitlines()[1:]


def test_a_pattern_and_a_hyperparameter_are_understood(command, tmp_path):
    assert command("quantizer=glob(fs*)", "quantizer.levels=[16,16]") == 0
    assert "levels=(16,16)" in (tmp_path / "source.md").read_text()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("quantizer=vqq", "unknown quantizer 'vqq'.*did you mean 'vq'"),
        ("quantizer=glob(zz*)", "unknown quantizer"),
        ("source=cubes", "unknown source 'cubes'.*did you mean 'cube'"),
        ("rates=8", "unknown option 'rates=8'.*rate="),
        ("rate=ten", "rate=ten must be a number above 0"),
        ("learning_rate=-1", "learning_rate=-1 must be a number above 0"),
        ("dimension=1", "dimension=1 must be a whole number, at least 2"),
        ("steps=0", "steps=0 must be a whole number, at least 1"),
        ("plugins=no_such_module", "plugin no_such_module cannot be imported"),
    ],
)
def test_a_typo_is_one_line(command, capsys, word, message):
    assert command(word) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_method_without_the_rate_is_skipped_and_the_others_go_on(command, tmp_path, capsys):
    assert command("quantizer=e8,fsq", "rate=10") == 0
    assert "skipped: quantizer e8 has no operating point at rate=10" in capsys.readouterr().err
    assert "`e8`" not in (tmp_path / "source.md").read_text()
    assert command("quantizer=e8", "rate=10") == 1


def test_a_collapse_is_named(command, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.source.report._COLLAPSED_BITS", 100.0)
    assert command("quantizer=vq,random_code") == 0
    page = (tmp_path / "source.md").read_text()
    assert "Ended with hardly more than one code: `vq` on gaussian 2. Either" in page


def test_help_shows_every_option(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for option in (
        "quantizer=",
        "rate=",
        "source=",
        "dimension=",
        "steps=",
        "learning_rate=",
        "seed=",
        "plugins=",
    ):
        assert option in shown
