"""Identity of the code that judges: equal hashes, equal evaluation.

Covers `bench/evaluate.py` and every module of `bench` that it imports, directly or not. Comments,
docstrings and layout do not count, nor does the version of Python.
"""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_ENTRY = "bench.evaluate"


@functools.cache
def evaluation_code_sha256(entry: str = _ENTRY) -> str:
    """SHA-256 of the judge's code, or of another module of `bench` and of what it imports."""
    digest = hashlib.sha256()
    for name, tree in sorted(_reachable(entry).items()):
        digest.update(f"{name} {_text(_without_docstrings(tree))}\n".encode())
    return digest.hexdigest()


def _reachable(entry: str) -> dict[str, ast.Module]:
    found: dict[str, ast.Module] = {}
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if name not in found and path:
            found[name] = ast.parse(path.read_text(encoding="utf-8"))
            waiting += _imports(found[name])
    return found


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bench."):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file(module: str) -> Path | None:
    base = _ROOT.joinpath(*module.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _text(node: object) -> str:
    """A syntax tree without empty fields; `ast.unparse` and `ast.dump` differ between Pythons."""
    if isinstance(node, list):
        return f"[{', '.join(map(_text, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, getattr(node, name, None)) for name in node._fields)
    kept = (f"{name}={_text(value)}" for name, value in fields if value not in (None, []))
    return f"{type(node).__name__}({', '.join(kept)})"


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return tree
