"""The YAML files of the quantizers, for modules that need no torch."""

import functools
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import yaml

from bench.command_line import UsageError, did_you_mean
from bench.conf import CONF

FOLDER = CONF / "quantizer"


@functools.cache
def quantizer_yaml(name: str) -> dict[str, Any]:
    """Content of `quantizer/NAME.yaml`; empty for a method of a plugin, which has no file."""
    path = FOLDER / f"{name}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}


def quantizers_named(text: str, known: Sequence[str]) -> list[str]:
    """Names of quantizers: a list of names and patterns, e.g. `gsq,*vq`, or Hydra's `glob(*vq)`.

    Raises:
        UsageError: a name or pattern matches none; the message lists the known names.
    """
    names: dict[str, None] = {}
    for pattern in text.removeprefix("glob(").removesuffix(")").split(","):
        matching = sorted(name for name in known if fnmatchcase(name, pattern))
        if not matching:
            raise UsageError(did_you_mean("quantizer", pattern, known))
        names |= dict.fromkeys(matching)
    return list(names)
