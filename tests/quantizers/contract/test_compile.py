"""torch.compile without graph breaks and torch.export equal eager mode, for every example."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from quantizers import available

SCRIPT = Path(__file__).with_name("compile_and_export.py")
PROCESSES = 2

pytestmark = pytest.mark.compile


@pytest.fixture(scope="module")
def failures(request, examples, tmp_path_factory):
    """For each selected method what went wrong, by two processes that import the compiler once."""
    items = [item for item in request.session.items if "failures" in item.fixturenames]
    names = [item.callspec.params["name"] for item in items]
    folder, root = tmp_path_factory.mktemp("compile"), str(SCRIPT.parents[3])
    environment = os.environ | {"PYTHONPATH": root}  # also where another tree is installed
    processes = []
    for number in range(PROCESSES):
        share = {name: examples[name] for name in names[number::PROCESSES]}
        command = [sys.executable, SCRIPT, folder, json.dumps(share)]
        processes.append(subprocess.Popen(command, env=environment, cwd=root))
    codes = [process.wait() for process in processes]
    found = {path.stem: path.read_text() for path in folder.glob("*.txt")}
    return {name: found.get(name, f"no result; exit codes {codes}") for name in names}


@pytest.mark.parametrize("name", available())
def test_compiled_and_exported_code_equals_eager_code(failures, name):
    assert not failures[name], failures[name]
