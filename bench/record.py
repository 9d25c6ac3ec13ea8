"""One JSON file per run: everything a table shows, and everything needed to doubt it.

A record is written once and never overwritten. A second attempt at the same run gets its own file
with a higher number. Tables and comparisons are made from records only. A file ends with the
SHA-256 of its content, which reveals accidental or manual changes; it does not stop fraud, because
anybody can renew it. This module needs no torch, so tables can be rebuilt anywhere.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

from bench.atomic_files import write_new_text

Item = TypeVar("Item")
Key = TypeVar("Key")

SCHEMA = 2
RATE_TOLERANCE = 0.02  # relative; how far a run's bits may be from the rate that it stands for
_REQUIRED = {
    "quantizer": ("name", "hyperparameters", "operating_point", "control"),
    "protocol": (
        *("version", "recipe", "data", "rate", "budget", "steps", "downsampling", "ruleset"),
        *("trials", "evaluation_code", "extractor", "perceptual_loss", "perceptual_metric"),
        *("device", "precision"),
    ),
    "environment": ("device",),
}
STATUSES = ("ok", "collapsed", "diverged", "out_of_memory", "error")


class RecordError(ValueError):
    """A file is not a usable record; the message names it and says why."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One attempt at one run.

    Attributes:
        run: identity of the run, the same for every attempt at one configuration and seed.
        attempt: 1 for the first.
        status: how it ended, one of `STATUSES`.
        reason: why it failed, in one line; empty for `ok`.
        protocol: what all rows of a table share, with its SHA-256 under `sha256`. `metrics`, where
            there is one, describes each extra metric; see `bench.report.metric`.
        quantizer: `name`, `hyperparameters`, `operating_point`, `control`.
        seed: the run's seed.
        seeds: the seed of every named random stream.
        rate: nominal and measured rate, units in the names; null where it is infinite.
        metrics: values over all test images, units or networks in the names.
        per_image: the values behind those metrics that are means, in test order.
        leave_group_out: metrics that are not means over images, without each group of test images.
        codebooks: usage of each codebook.
        training: health of the codes at the last line of the training log; see
            `bench.training.step_window` and `bench.training.norm_drift`. Empty in older records.
        budget: what was spent: steps, samples, learning rates, FLOPs of a training step.
        tuning: ruleset, and how many trials chose the hyper-parameters.
        parameters: trainable parameters by owner.
        timing: milliseconds and seconds, with torch.compile listed separately; on a CPU, the share
            of its threads' time; under `fresh_process`, whether the process had run nothing before.
            Older records lack it.
        memory: peak bytes, null where they cannot be read.
        hashes: SHA-256 of initial weights, batch order, test images, and the judge's networks.
        environment: versions and machine.
        git: commit, and whether files differed from it.
        config: the resolved configuration.
        command: what to type to run it again.
    """

    run: str
    attempt: int
    status: str
    reason: str
    protocol: dict[str, Any]
    quantizer: dict[str, Any]
    seed: int
    seeds: dict[str, int]
    rate: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    per_image: dict[str, list[float | None]] = field(default_factory=dict)
    leave_group_out: dict[str, list[float]] = field(default_factory=dict)
    codebooks: list[dict[str, Any]] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)
    budget: dict[str, Any] = field(default_factory=dict)
    tuning: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    timing: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    git: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    command: str = ""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise RecordError(f"status {self.status!r} is unknown; known: {', '.join(STATUSES)}")


def write_record(folder: Path, record: Record) -> Path:
    """Writes a record into a folder of records; the file name follows from run and attempt.

    Raises:
        FileExistsError: this attempt has a record already.
    """
    path = folder / file_name(record)
    write_new_text(path, _to_json(record))
    return path


def file_name(record: Record) -> str:
    """The name that a record's file has in a folder of records."""
    return f"{record.run}.{record.attempt}.json"


def read_records(folder: Path) -> tuple[list[Record], list[str]]:
    """All records of a folder in order of run and attempt, and a line for each unusable file."""
    records, problems = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            record = read_record(path)
            if path.name != file_name(record):  # would count a run twice
                raise _left_out(path, f"it is a copy or renamed; it holds {file_name(record)}")
            records.append(record)
        except RecordError as error:
            problems.append(str(error))
    return sorted(records, key=lambda record: (record.run, record.attempt)), problems


def read_record(path: Path) -> Record:
    """Reads one record.

    Raises:
        RecordError: it is not JSON, has another schema, missing or unknown fields or values of the
            wrong type, was changed since it was written, or belongs to another protocol.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _left_out(path, f"not readable as JSON ({error})") from error
    try:
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise RecordError(f"not a record of schema {SCHEMA}")
        if content.pop("sha256", None) != canonical_sha256(content):
            raise RecordError("it was changed since it was written")
        del content["schema"]
        record = Record(**content)
        _check_content(record)
        _check_protocol(record)
    except (TypeError, RecordError) as error:
        raise _left_out(path, str(error)) from error
    return record


def _left_out(path: Path, reason: str) -> RecordError:
    return RecordError(f"{path.name} is left out: {reason}")


def _check_content(record: Record) -> None:
    """Checks what pages rely on: a value of the wrong type would stop all other tables too."""
    for name, hint in get_type_hints(Record).items():
        kind, value = get_origin(hint) or hint, getattr(record, name)
        if not isinstance(value, kind):
            raise RecordError(f"{name} must be a {kind.__name__}, got {value!r:.40}")
    for part, keys in _REQUIRED.items():
        missing = [key for key in keys if key not in getattr(record, part)]
        if missing:
            raise RecordError(f"its {part} has no {', '.join(missing)}")
    series: list[tuple[str, Any]] = [*record.per_image.items(), *record.leave_group_out.items()]
    values = [(name, value) for name, listed in series for value in listed]
    values += [*record.metrics.items(), *record.rate.items(), *record.timing.items()]
    for name, value in values:
        if not isinstance(value, float | int | None):
            raise RecordError(f"{name} must be a number, got {value!r:.40}")


def _check_protocol(record: Record) -> None:
    parts = {key: value for key, value in record.protocol.items() if key != "sha256"}
    if record.protocol.get("sha256") != canonical_sha256(parts):
        raise RecordError("its protocol does not match its hash")
    try:
        table = table_name(record.protocol)
    except (KeyError, TypeError) as error:
        raise RecordError(f"its protocol has no {error}") from error
    if not record.run.startswith(f"{table}-"):
        raise RecordError("its run belongs to another protocol")


def next_attempt(folder: Path, run: str) -> int:
    """The number of the next attempt at a run."""
    return 1 + max((_attempt(path) for path in folder.glob(f"{run}.*.json")), default=0)


def table_name(protocol: Mapping[str, Any]) -> str:
    """File stem of the table that shows a protocol's runs."""
    suffix = "".join(f"-{word}" for word in variants(protocol))
    return (
        f"{protocol['recipe']['name']}-{protocol['data']['name']}-{protocol['rate']:g}bit-"
        f"{protocol['budget']}{suffix}-{protocol['device']}-{protocol['sha256'][:8]}"
    )


def variants(protocol: Mapping[str, Any]) -> list[str]:
    """What the name and the title of a table say beyond recipe, data, rate, budget and device."""
    named = {"tuned": protocol["ruleset"] == "tuned", "compiled": protocol.get("compile")}
    return [name for name, applies in named.items() if applies]


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Items by a key of theirs, both in the order given."""
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def canonical_sha256(value: Any) -> str:
    """SHA-256 of a value's JSON with sorted keys: equal values have equal hashes everywhere."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _attempt(path: Path) -> int:
    number = path.name.split(".")[-2]
    return int(number) if number.isdigit() else 0


def _to_json(record: Record) -> str:
    """JSON with one field per line, so that version control shows which field changed."""
    exact = {"protocol": record.protocol}  # its hash is made of unrounded numbers
    content = json.loads(json.dumps({"schema": SCHEMA, **_finite(asdict(record)), **exact}))
    content["sha256"] = canonical_sha256(content)
    lines = [f'"{key}": {json.dumps(value, allow_nan=False)}' for key, value in content.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _finite(value: Any) -> Any:
    """Rounds to 7 significant digits; infinity and NaN, which JSON lacks, become null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value
