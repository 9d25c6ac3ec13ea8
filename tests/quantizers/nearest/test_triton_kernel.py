"""The Triton kernel, in Triton's interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_kernel_finds_the_nearest_code_without_a_gpu():
    pytest.importorskip("triton")
    script = Path(__file__).with_name("kernel_on_cpu.py")
    subprocess.run([sys.executable, script], check=True)


@pytest.mark.slow
def test_importing_the_package_imports_no_triton():
    code = "import sys, quantizers; sys.exit('triton' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
