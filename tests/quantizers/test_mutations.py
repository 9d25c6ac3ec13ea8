"""The default tests notice planted faults: see mutations.py.

This runs the faults of some files, in a few minutes. The whole list takes more than ten minutes on
two cores; run it by hand.
"""

import subprocess
import sys
from pathlib import Path

import pytest

STEMS = (
    *("registry", "estimators", "parts/losses", "parts/entropy"),
    *("nearest/search", "nearest/two_passes", "nearest/line_and_circle"),
    *("fsq", "lfq", "ifsq", "rfsq", "gsq", "vq", "rvq"),
)


@pytest.mark.slow
def test_planted_faults_are_noticed():
    command = [sys.executable, Path(__file__).with_name("mutations.py"), *STEMS]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
