"""The default tests notice planted faults: see mutations.py."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_planted_fault_is_noticed():
    script = Path(__file__).with_name("mutations.py")
    process = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
