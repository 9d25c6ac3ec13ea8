"""Runs a script of this folder in two processes of one group.

A script computes with its rank's batches and saves the results:

    if __name__ == "__main__":
        run(compute)
"""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import quantizers


def results_of(script: str, folder: Path) -> list[Any]:
    """Runs a script in two processes; returns what each of them saved, by rank."""
    environment = os.environ | {"PYTHONPATH": str(Path(quantizers.__file__).parents[1])}
    path = Path(__file__).with_name(script)
    processes = [
        subprocess.Popen([sys.executable, path, str(rank), folder], env=environment)
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def run(compute: Callable[[int], Any]) -> None:
    """For the script: joins the group and saves what `compute` returns for this rank."""
    rank, folder = int(sys.argv[1]), sys.argv[2]
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),  # a process that waits for a broken one also ends
    )
    torch.save(compute(rank), f"{folder}/{rank}.pt")
    dist.destroy_process_group()
