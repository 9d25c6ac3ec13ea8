"""The README's own lines: its plugin runs, its Python runs, its tables are those of the records."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.leaderboard import build, renew_readme

README = Path("README.md")


def code(first_words: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = (block for block in blocks if first_words in block)
    return block


@pytest.mark.slow
def test_the_plugin_of_the_readme_trains_beside_fsq(tmp_path, arguments):
    block = code('@register("mine")')
    assert block.count("\n") <= 25
    (tmp_path / "mine.py").write_text(block)
    command = [sys.executable, "-m", "bench.run", "plugins=mine", "quantizer=mine,fsq", *arguments]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert re.search(r"mine\s+latent_channels=5, levels=4\s+10\.00", result.stdout)
    bits = ["quantizer.latent_channels=10", "quantizer.levels=2"]
    command = [*command[:4], "quantizer=mine", *bits, *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "latent_channels=10, levels=2" in result.stdout


def test_the_python_of_the_readme_runs():
    names: dict = {}
    exec(code('build("gsq"'), names)
    assert names["output"].indices.shape == (4, 2, 8, 8)
    assert names["quantizer"].dequantize(names["output"].indices).equal(names["output"].quantized)


def test_committed_tables_and_readme_are_those_of_the_committed_records(tmp_path, monkeypatch):
    """Looks at what git has, so that runs of one's own in `leaderboards/` do not matter."""
    listed = subprocess.run(
        ["git", "ls-files", "leaderboards", "README.md"], capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split():
        blob = subprocess.run(["git", "show", f":{name}"], capture_output=True, check=True).stdout
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(blob)
    changed, problems = build(tmp_path / "leaderboards", check=True)
    assert not problems
    assert not changed
    monkeypatch.chdir(tmp_path)
    assert not renew_readme(Path("README.md"), Path("leaderboards"), check=True)
