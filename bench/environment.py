"""Where a run took place: versions, machine, git commit."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = (
    "torch",
    "torchvision",
    "torch-fidelity",
    "lpips",
    "scikit-image",
    "numpy",
    "scipy",
    "pillow",
)


def flush_denormals() -> None:
    """Takes numbers nearer to 0 than 1.2e-38 for 0, in this thread and those that it starts later.

    On processors of Intel a product with one of them takes some 20 times as long, and soft codes
    are full of them. To be called before torch computes anything: its threads inherit the setting.
    """
    torch.set_flush_denormal(True)


def environment(device: torch.device) -> dict[str, Any]:
    """Everything about the machine that could move a number or a time."""
    facts = {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "packages": {name: version(name) for name in _PACKAGES},
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "denormals_flushed": bool(torch.tensor([2.0**-126]) / 2 == 0),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["gpu"] = properties.name
        facts["gpu_memory_gib"] = round(properties.total_memory / 2**30, 1)
        facts["cuda"] = torch.version.cuda
        facts["cudnn"] = torch.backends.cudnn.version()
    return facts


def device_name(device: torch.device) -> str:
    """What the table calls the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()


def git_state() -> dict[str, Any]:
    """Commit of this code and whether files differ from it; `commit` is null without git."""
    root = Path(__file__).resolve().parent.parent
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", "quantizers", "models", "bench")
    return {"commit": commit, "dirty": bool(changes) if commit else None}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _processor() -> str:
    """The processor's name; `platform` leaves it empty on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
