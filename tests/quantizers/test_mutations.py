"""The default tests notice every planted fault: see mutations.py. A few minutes on two cores."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_planted_fault_is_noticed():
    command = [sys.executable, Path(__file__).with_name("mutations.py")]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
