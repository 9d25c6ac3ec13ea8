"""The default tests notice planted faults: see mutations.py.

Here those of the shared files and of two methods, some minutes. The whole list takes well over ten
minutes and is run by hand.
"""

import subprocess
import sys
from pathlib import Path

import pytest

STEMS = ("base", "registry", "losses", "none", "nearest", "fsq", "lfq")


@pytest.mark.slow
def test_every_planted_fault_is_noticed():
    command = [sys.executable, Path(__file__).with_name("mutations.py"), *STEMS]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
