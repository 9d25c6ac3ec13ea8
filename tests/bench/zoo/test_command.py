import re

import pytest

from bench.zoo.__main__ import main
from bench.zoo.facts import Facts, facts, papers, section, summary
from quantizers import Quantizer, available
from quantizers.none import NoQuantizer
from quantizers.registry import _QUANTIZERS


@pytest.fixture(scope="module")
def methods() -> list[Facts]:
    return [facts(name) for name in available()]


def test_every_method_has_a_row_and_a_section(methods):
    assert [method.name for method in methods] == available()
    for method in methods:
        assert f"[`{method.name}`](#{method.name})" in summary(methods)
        assert f"| `{method.name}` " in papers(methods)
        assert section(method).startswith(f"## {method.name}\n")


def test_check_notices_a_stale_page_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("quantizers.available", lambda: ["none"])
    path = tmp_path / "zoo.md"
    assert main([f"leaderboards={tmp_path}", "check=true"]) == 1
    assert not path.exists()
    assert main([f"leaderboards={tmp_path}"]) == 0
    page = path.read_text(encoding="utf-8")
    assert main([f"leaderboards={tmp_path}", "check=true"]) == 0
    path.write_text(page + "x", encoding="utf-8")
    assert main([f"leaderboards={tmp_path}", "check=true"]) == 1
    assert path.read_text(encoding="utf-8") == page + "x"
    assert "out of date" in capsys.readouterr().out


def test_the_list_of_methods_in_a_file_is_renewed_and_nothing_else(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("quantizers.available", lambda: ["none"])
    path = tmp_path / "README.md"
    path.write_text("Before.\n<!-- BEGIN methods -->\nold\n<!-- END -->\nAfter.\n")
    assert main([f"readme={path}", "check=true"]) == 1
    assert main([f"readme={path}"]) == 0
    text = path.read_text(encoding="utf-8")
    assert re.fullmatch(
        r"Before\.\n<!-- .+\n\| method .+`quantizers/none\.py` \|\n<!-- END -->\nAfter\.\n",
        text,
        re.DOTALL,
    )
    assert main([f"readme={path}", "check=true"]) == 0
    path.write_text("Nothing.")
    assert main([f"readme={path}"]) == 2
    assert "has no lines <!-- BEGIN methods -->" in capsys.readouterr().err


def test_papers_are_those_cited_before_the_deviations():
    vit, llamagen = facts("cosine_vq").papers
    title = "Vector-quantized Image Modeling with Improved VQGAN"
    assert vit == (f"[{title}](https://arxiv.org/abs/2110.04627)", "2022")
    assert llamagen == ("[Sun et al. 2024](https://arxiv.org/abs/2406.06525)", "")
    assert not facts("none").papers


def test_facts_are_read_from_file_yaml_and_constructor():
    vq = facts("vq")
    assert vq.paper == "[Neural Discrete Representation Learning](https://arxiv.org/abs/1711.00937)"
    assert "argmin" in vq.formula
    assert vq.trained == ["codebook"]
    assert vq.parameters[:2] == [256 * 8, 1024 * 8]
    assert list(vq.points)[:2] == [8, 10]
    assert "straight_through" in vq.estimator
    assert vq.deviations.startswith("VQGAN's released code puts beta")
    assert facts("fsq").estimator == facts("ifsq").estimator == "straight-through"


def test_state_without_gradient_is_counted_apart():
    ema_vq = facts("ema_vq")
    assert ema_vq.parameters[0] == 0
    assert ema_vq.state[0] >= 256 * (8 + 1 + 8)  # codebook, sizes, sums


def test_a_law_that_is_broken_stands_with_its_reason():
    text = section(facts("fsq"))
    assert "breaks the law `projection`: tanh squashes" in text


def test_a_control_says_what_it_bounds():
    assert "- control: upper bound" in section(facts("none"))


def test_every_method_except_controls_names_its_paper(methods):
    for method in methods:
        assert method.papers or method.cls.control
        assert re.fullmatch(r"\[.+\]\(\S+[^\s.:,;]\)|-", method.paper)


class Plugin(NoQuantizer):
    """Somebody's own."""


Plugin.__module__ = __name__


def test_a_plugin_without_paper_or_formula_has_dashes(monkeypatch):
    monkeypatch.setitem(_QUANTIZERS._factories, "plugin", Plugin)
    plugin = facts("plugin")
    assert (plugin.paper, plugin.formula, plugin.deviations) == ("-", "-", "-")


def test_a_method_of_the_package_without_a_formula_is_an_error(monkeypatch, tmp_path, capsys):
    bare = type("Bare", (Quantizer,), {"__module__": "quantizers.none", "__doc__": "No formula."})
    monkeypatch.setitem(_QUANTIZERS._factories, "bare", bare)
    assert main([f"leaderboards={tmp_path}"]) == 2
    message = capsys.readouterr().err
    assert "quantizer bare has no formula" in message
    assert "docstring of Bare" in message
    assert not (tmp_path / "zoo.md").exists()


def test_an_unknown_option_is_named(capsys):
    assert main(["chek=true"]) == 2
    assert "unknown option 'chek=true'; known: check=, leaderboards=" in capsys.readouterr().err
