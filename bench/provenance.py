"""What a record says of its origin: machine, versions, git commit, and hashes of source code.

The judge's hash covers the modules `JUDGE` and every module of `bench` that they import, directly
or not. Comments, docstrings, layout and the version of Python do not change it.
"""

import ast
import functools
import hashlib
import inspect
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

JUDGE = ("bench.evaluate",)
_PUBLISHED = "8c5ab6fa8eaedc4032f048b5d0be7646d881ea024fa672aeb4b1d8844ffe31fc"
# The hash of code that gives the numbers of published code, bit for bit; and the published hash.
EQUAL_JUDGES = {"8ee197b6f20551e0c864e46e746a4a7d4996eda8bc5114ea7ac7aa0961171706": _PUBLISHED}
_ROOT = Path(__file__).resolve().parent.parent
_PROJECT = ("quantizers", "models", "bench")
_PACKAGES = (
    *("torch", "torchvision", "torch-fidelity", "lpips", "scikit-image", "numpy", "scipy"),
    "pillow",
)


def flush_denormals() -> None:
    """Treats numbers closer to 0 than 1.2e-38 as 0, in this thread and in threads it starts later.

    On Intel processors a product with such a number takes about 20 times as long, and soft codes
    are full of them. Call it before torch computes anything: torch's threads inherit the setting.
    """
    torch.set_flush_denormal(True)


def environment(device: torch.device) -> dict[str, Any]:
    """Everything about the machine that could change a number or a time."""
    machine = {
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
        machine["gpu"] = properties.name
        machine["gpu_memory_gib"] = round(properties.total_memory / 2**30, 1)
        machine["cuda"] = torch.version.cuda
        machine["cudnn"] = torch.backends.cudnn.version()
    return machine


def device_name(device: torch.device) -> str:
    """The name of the device in tables."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()


def git_state() -> dict[str, Any]:
    """The commit of this code, null without git, and whether files differ from it."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", *_PROJECT)
    return {"commit": commit, "dirty": bool(changes) if commit else None}


def evaluation_code_sha256() -> str:
    """Identity of the judge's code in protocols: equal hashes, equal numbers."""
    digest = code_sha256(*JUDGE)
    return EQUAL_JUDGES.get(digest, digest)


@functools.cache
def code_sha256(*modules: str, root: Path = _ROOT) -> str:
    """SHA-256 of the code of some modules of `bench` and of the modules of `bench` they import.

    Args:
        modules: dotted names.
        root: the folder that contains `bench`.
    """
    digest = hashlib.sha256()
    for name, tree in sorted(_reachable(modules, root).items()):
        digest.update(f"{name} {_text(_without_docstrings(tree))}\n".encode())
    return digest.hexdigest()


def part_sha256(part: Callable[..., Any]) -> str:
    """SHA-256 of the code behind a class or function.

    In `bench` that is its module with the modules of `bench` it imports; elsewhere its file.
    """
    module = part.__module__
    if module.startswith("bench."):
        return code_sha256(module)
    return hashlib.sha256(Path(inspect.getfile(sys.modules[module])).read_bytes()).hexdigest()


def is_plugin(part: Callable[..., Any]) -> bool:
    """Whether a class or function comes from outside this project."""
    return part.__module__.partition(".")[0] not in _PROJECT


def _reachable(modules: tuple[str, ...], root: Path) -> dict[str, ast.Module]:
    trees: dict[str, ast.Module] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        base = root.joinpath(*name.split("."))
        files = (base.with_suffix(".py"), base / "__init__.py")
        path = next((path for path in files if path.is_file()), None)
        if name not in trees and path:
            trees[name] = ast.parse(path.read_text(encoding="utf-8"))
            waiting += _imports(trees[name])
    return trees


def _imports(tree: ast.Module) -> Iterator[str]:
    for statement in ast.walk(tree):
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("bench."):
            yield str(statement.module)
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)


def _text(node: object) -> str:
    """A syntax tree without empty fields; `ast.unparse` and `ast.dump` differ between Pythons."""
    if isinstance(node, list):
        return f"[{', '.join(map(_text, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, getattr(node, name, None)) for name in node._fields)
    filled = (f"{name}={_text(value)}" for name, value in fields if value not in (None, []))
    return f"{type(node).__name__}({', '.join(filled)})"


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return tree


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(_ROOT), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _processor() -> str:
    """The processor's name; `platform` leaves it empty on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
