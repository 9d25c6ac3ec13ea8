"""torch.compile without graph breaks and torch.export equal eager mode, for every example."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from quantizers import available

SCRIPT = Path(__file__).with_name("compile_and_export.py")


@pytest.mark.compile
@pytest.mark.parametrize("name", available())
def test_compiled_and_exported_code_equals_eager_code(examples, name):
    command = [sys.executable, SCRIPT, name, json.dumps(examples[name])]
    root = str(SCRIPT.parents[2])  # the tree under test, also where another one is installed
    environment = os.environ | {"PYTHONPATH": root}
    process = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
