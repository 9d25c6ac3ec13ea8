"""One line for a mistake on the command line: what came, what is known, what is nearest."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from bench.command_line import did_you_mean
from bench.conf.schema import BenchConfig

_UNKNOWN_CHOICE = re.compile(r"Could not find '(?P<group>[\w/]+)/(?P<value>[^'/]+)'")
_UNKNOWN_KEY = re.compile(r"Key '(?P<key>[^']+)' (?:is )?not in")
_FULL_KEY = re.compile(r"full_key: (?P<key>\S+)")
_ORIGIN = re.compile(
    r"(full_key|reference_type|object_type)[:=]|See https|set the environment", re.I
)


def explain(error: Exception) -> str:
    """Turns an exception of Hydra or OmegaConf, whose text has many lines, into one line."""
    text = "\n".join(str(part) for part in (error, error.__cause__) if part)
    if choice := _UNKNOWN_CHOICE.search(text):
        options = re.findall(r"^\t(\S+)$", text, flags=re.MULTILINE)
        return did_you_mean(choice["group"], choice["value"], options)
    if _UNKNOWN_KEY.search(text) or "Could not override" in text:
        full = _FULL_KEY.search(text) or re.search(r"Could not override '(?P<key>[^']+)'", text)
        if full:
            return did_you_mean("key", full["key"], _keys_beside(full["key"]))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return ": ".join(dict.fromkeys(line for line in lines if not _ORIGIN.match(line)))


def _yaml(file: Path) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(file)))


def _keys_beside(key: str) -> list[str]:
    """The keys on the same level as a key of the configuration, below `quantizer` of any method."""
    node: Any = BenchConfig
    prefix = ""
    if key.startswith("quantizer."):
        files = (Path(__file__).parent / "quantizer").glob("*.yaml")
        return list({f"quantizer.{name}" for file in files for name in _yaml(file)})
    for part in key.split(".")[:-1]:
        types = {field.name: field.type for field in fields(node)}
        if not is_dataclass(types.get(part)):
            return []
        node, prefix = types[part], f"{prefix}{part}."
    return [prefix + field.name for field in fields(node)]
