"""What a record says of the machine."""

import subprocess
import sys

import torch

from bench.environment import environment, flush_denormals

FLUSHED_BY_THREADS = """
import torch
from bench.environment import flush_denormals
torch.set_num_threads(2)
flush_denormals()
print(bool((torch.full((1 << 20,), 2.0**-126) / 2).any()))
"""


def test_denormals_are_flushed_by_this_thread_and_by_those_of_torch():
    assert environment(torch.device("cpu"))["denormals_flushed"] is False
    flush_denormals()
    assert environment(torch.device("cpu"))["denormals_flushed"] is True
    command = [sys.executable, "-c", FLUSHED_BY_THREADS]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "False\n"
