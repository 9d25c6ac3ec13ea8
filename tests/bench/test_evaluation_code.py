import shutil
from pathlib import Path

import pytest

from bench import evaluation_code
from bench.evaluation_code import evaluation_code_sha256


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """The hash after one edit of a copy of the code."""
    shutil.copytree(Path("bench"), tmp_path / "bench")
    monkeypatch.setattr(evaluation_code, "_ROOT", tmp_path)

    def edit(name: str, old: str, new: str) -> str:
        path = tmp_path / "bench" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return evaluation_code_sha256.__wrapped__()

    return edit


def test_the_hash_is_that_of_the_code_as_it_is(edited):
    assert edited("train.py", "import", "import") == evaluation_code_sha256()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("evaluate.py", "2**20", "2**19"),
        ("metrics/image.py", "import", "import math\nimport"),
        ("statistics/distribution.py", "GROUPS = 20", "GROUPS = 21"),
    ],
)
def test_a_change_of_the_judge_or_of_what_it_uses_changes_the_hash(edited, name, old, new):
    assert edited(name, old, new) != evaluation_code_sha256()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("train.py", "import", "import math\nimport"),
        ("evaluate.py", '"""The judge', '"""Another word for the judge'),
        ("evaluate.py", "def evaluate(", "# a remark\ndef evaluate("),
    ],
)
def test_other_code_and_words_do_not_change_it(edited, name, old, new):
    assert edited(name, old, new) == evaluation_code_sha256()
