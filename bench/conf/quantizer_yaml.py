"""What `bench/conf/quantizer/NAME.yaml` says of a method, for modules that need no torch."""

import functools
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "quantizer"


@functools.cache
def quantizer_yaml(name: str) -> dict[str, Any]:
    """The file's content; empty for a method of a plugin, which has none."""
    path = FOLDER / f"{name}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
