"""What a record says of the machine, and of the code that judged."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench import provenance
from bench.provenance import (
    code_sha256,
    environment,
    evaluation_code_sha256,
    flush_denormals,
    is_plugin,
    part_sha256,
)
from quantizers import build

FLUSHED_BY_THREADS = """
import torch
from bench.provenance import flush_denormals
torch.set_num_threads(2)
flush_denormals()
print(bool((torch.full((1 << 20,), 2.0**-126) / 2).any()))
"""


def test_denormals_are_flushed_in_this_thread_and_in_the_threads_of_torch():
    assert environment(torch.device("cpu"))["denormals_flushed"] is False
    flush_denormals()
    assert environment(torch.device("cpu"))["denormals_flushed"] is True
    command = [sys.executable, "-c", FLUSHED_BY_THREADS]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "False\n"


@pytest.fixture
def edited(tmp_path):
    """The judge's hash after one edit of a copy of the code."""
    shutil.copytree("bench", tmp_path / "bench", ignore=shutil.ignore_patterns("__pycache__"))

    def edit(name: str, old: str, new: str) -> str:
        path = tmp_path / "bench" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return code_sha256(*provenance.JUDGE, root=tmp_path)

    return edit


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("evaluate.py", "2**20", "2**19"),
        ("metrics/image.py", "import", "import math\nimport"),
        ("statistics/distribution.py", "GROUPS = 20", "GROUPS = 21"),
    ],
)
def test_a_change_of_the_judge_or_of_a_module_it_imports_changes_the_hash(edited, name, old, new):
    assert edited(name, old, new) != code_sha256(*provenance.JUDGE)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("run.py", "import", "import math\nimport"),
        ("evaluate.py", '"""The judge', '"""Another word for the judge'),
        ("evaluate.py", "def evaluate(", "# a remark\ndef evaluate("),
    ],
)
def test_other_code_and_words_do_not_change_the_hash(edited, name, old, new):
    assert edited(name, old, new) == code_sha256(*provenance.JUDGE)


def test_the_hash_of_two_modules_covers_both():
    modules = ("bench.evaluate", "bench.command_line")
    assert len({code_sha256(*modules), *map(code_sha256, modules)}) == 3
    assert code_sha256(*modules) == code_sha256(*reversed(modules))


def test_code_that_is_declared_equal_has_the_published_hash(monkeypatch):
    monkeypatch.setattr(provenance, "JUDGE", ("bench.record",))
    new = code_sha256("bench.record")
    assert evaluation_code_sha256() == new
    monkeypatch.setattr(provenance, "EQUAL_JUDGES", {new: "published"})
    assert evaluation_code_sha256() == "published"


def test_a_plugin_is_identified_by_its_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    Path(tmp_path / "one_plugin.py").write_text("def part(): ...\n")
    from one_plugin import part

    before = part_sha256(part)
    Path(tmp_path / "one_plugin.py").write_text("def part(): return 1\n")
    assert part_sha256(part) != before
    assert is_plugin(part)
    assert not is_plugin(build)
