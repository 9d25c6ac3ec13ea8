"""The one way to call Hydra: for one configuration, for a sweep, and for Hydra's own flags."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from bench.atomic_files import write_text
from bench.command_line import UsageError, did_you_mean
from bench.conf import CONF, plugins
from bench.conf.schema import BenchConfig, parse, register_schema

_OPEN = ("quantizer", "data", "recipe.discriminator")  # mappings with options of one part

# "Could not find 'quantizer/gqs'"
_UNKNOWN_CHOICE = re.compile(r"Could not find '(?P<group>[\w/]+)/(?P<value>[^'/]+)'")
# "\tgsq", one line for each choice
_CHOICE = re.compile(r"^\t(\S+)$", re.MULTILINE)
# "Key 'stpes' is not in struct", "Key 'stpes' not in 'RecipeConfig'"
_UNKNOWN_KEY = re.compile(r"Key '[^']+' (?:is )?not in")
# "    full_key: recipe.stpes"
_FULL_KEY = re.compile(r"full_key: (?P<key>\S+)")
# "Could not override 'sed'."
_OVERRIDE = re.compile(r"Could not override '(?P<key>[^']+)'")
# "    full_key: seed", "    object_type=BenchConfig", "Set the environment variable HYDRA_..."
_ORIGIN = re.compile(
    r"(full_key|reference_type|object_type)[:=]|See https|set the environment", re.I
)


def compose(overrides: Sequence[str]) -> BenchConfig:
    """One configuration, from what would be typed after `python -m bench.run`.

    Raises:
        UsageError: an override cannot be read, or has a key or value that is not allowed.
    """
    plugins.load(plugins.requested(overrides))
    register_schema()
    with explained(), hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return parse(hydra.compose("config", overrides=list(overrides)))


@dataclass(frozen=True)
class _Task:
    """One job of a sweep, as a launcher calls it; what the job returns goes to a JSON file."""

    job: Callable[[DictConfig, Sequence[str]], Any]

    def __call__(self, cfg: DictConfig) -> None:
        sweep = HydraConfig.get()
        outcome = self.job(cfg, sweep.overrides.task)
        path = Path(sweep.sweep.dir) / f"{sweep.job.num}.outcome.json"
        write_text(path, json.dumps(asdict(outcome)))


def sweep(
    job: Callable[[DictConfig, Sequence[str]], Any],
    command_lines: Sequence[Sequence[str]],
    folder: Path,
) -> None:
    """Runs a job for every combination of values on some command lines.

    A launcher of Hydra may run jobs in other processes or on other machines. So `job` must be
    importable (a launcher pickles it by name, and `__main__` is another module there), and what it
    returns comes back through files of a folder that all of them see: `outcomes` reads them.
    Hydra itself reads its command line from `sys.argv` only, so that is set for each call.

    Args:
        job: gets a composed configuration and its overrides, and returns a dataclass.
        command_lines: each is a sweep of its own.
        folder: of the outcomes.

    Raises:
        UsageError: as `compose`.
    """
    for number, line in enumerate(command_lines):
        # Without --multirun Hydra 1.3 hides what is wrong with an override.
        _call_hydra(_Task(job), ["--multirun", *line, f"hydra.sweep.dir={folder}/{number:03}"])


def outcomes(folder: Path) -> list[dict[str, Any]]:
    """What the jobs of a sweep returned, as far as they ended."""
    paths = sorted(folder.rglob("*.outcome.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def show(arguments: Sequence[str]) -> int:
    """Answers a flag of Hydra that runs nothing, e.g. `--help` or `--cfg`; returns an exit code.

    Raises:
        UsageError: as `compose`.
    """
    try:
        _call_hydra(print, arguments)
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


def _call_hydra(task: Callable[[DictConfig], None], arguments: Sequence[str]) -> None:
    plugins.load(plugins.requested(arguments))
    register_schema()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come here instead of being printed
    typed, sys.argv = sys.argv, ["bench.run", *arguments]
    try:
        with explained():
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()
    finally:
        sys.argv = typed


@contextmanager
def explained() -> Iterator[None]:
    """Context in which an error of Hydra or OmegaConf becomes a `UsageError` of one line."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(_explain(error)) from error


def _explain(error: Exception) -> str:
    """Says in one line what was typed, what is known and what is nearest."""
    text = "\n".join(str(part) for part in (error, error.__cause__) if part)
    if choice := _UNKNOWN_CHOICE.search(text):
        return did_you_mean(choice["group"], choice["value"], _CHOICE.findall(text))
    if _UNKNOWN_KEY.search(text) or _OVERRIDE.search(text):
        key = _FULL_KEY.search(text) or _OVERRIDE.search(text)
        if key:
            return did_you_mean("key", key["key"], _keys_beside(key["key"]))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return ": ".join(dict.fromkeys(line for line in lines if not _ORIGIN.match(line)))


def _keys_beside(key: str) -> list[str]:
    """The keys on the same level of the configuration; of a part with options, those of all."""
    group = key.rpartition(".")[0]
    if group in _OPEN:
        folder = group.replace(".", "/")
        parts = [yaml.safe_load(file.read_text("utf-8")) for file in (CONF / folder).glob("*.yaml")]
        keys = {name for part in [*parts, *plugins.stored(folder)] for name in part}
        return [f"{group}.{name}" for name in keys]
    types: Any = {field.name: field.type for field in fields(BenchConfig)}
    for part in filter(None, group.split(".")):
        if not is_dataclass(types.get(part)):
            return []
        types = {field.name: field.type for field in fields(types[part])}
    return [f"{group}.{name}".removeprefix(".") for name in types]
