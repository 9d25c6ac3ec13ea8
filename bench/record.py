"""One JSON file a run: everything a table shows, and everything needed to doubt it.

A record is written once and never overwritten. A second attempt at the same run gets a file of its
own and a higher number. Every later comparison is made from records alone. A file ends with the
SHA-256 of its content, so that a change by hand or by accident is noticed; who means to deceive can
renew it. This module needs no torch, so tables can be rebuilt anywhere.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from bench.atomic_files import write_new_text

SCHEMA = 2
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
    """A file is no usable record; the message names it and says why."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One attempt at one run.

    Attributes:
        run: identity of the run: equal for every attempt at the same configuration and seed.
        attempt: 1 for the first.
        status: how it ended, one of `STATUSES`.
        reason: why it did not end well, in one line; empty for `ok`.
        protocol: what every row of a table must share, and its SHA-256 under `sha256`.
        quantizer: `name`, `hyperparameters`, `operating_point`, `control`.
        seed: the run's seed.
        seeds: the seed of every named random stream.
        rate: nominal and measured rate, units in the names; null where it is infinite.
        metrics: means over the test images, units or networks in the names.
        per_image: the values behind these means, in test order.
        leave_group_out: metrics that are no means over images, without each group of test images.
        codebooks: use of each codebook.
        training: health of the codes at the last line of the training log; see
            `bench.training.step_window` and `bench.training.norm_drift`. Empty in records from
            before it was kept.
        budget: what was spent: steps, samples, learning rates, FLOPs of a training step.
        tuning: ruleset, and how many trials chose the hyper-parameters.
        parameters: trainable parameters by owner.
        timing: milliseconds and seconds, those of torch.compile apart; on a processor, the share
            of its threads' time; under `fresh_process`, whether no other run had used the process.
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
            _check_name(path, record)
            records.append(record)
        except RecordError as error:
            problems.append(str(error))
    return sorted(records, key=lambda record: (record.run, record.attempt)), problems


def read_record(path: Path) -> Record:
    """Reads one record.

    Raises:
        RecordError: not JSON, of another schema, with missing or unknown fields or values of
            another kind, changed since it was written, or with a run or a hash of another protocol.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RecordError(f"{path.name} is left out: not readable as JSON ({error})") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise RecordError(f"{path.name} is left out: not a record of schema {SCHEMA}")
    written = content.pop("sha256", None)
    if written != canonical_sha256(content):
        raise RecordError(f"{path.name} is left out: it was changed since it was written")
    del content["schema"]
    try:
        record = Record(**content)
        _check_content(record)
    except (TypeError, RecordError) as error:
        raise RecordError(f"{path.name} is left out: {error}") from error
    _check_protocol(path, record)
    return record


def _check_content(record: Record) -> None:
    """What pages take for granted: a value of another kind would stop all other tables too."""
    for name, hint in get_type_hints(Record).items():
        kind, value = get_origin(hint) or hint, getattr(record, name)
        if not isinstance(value, kind):
            raise RecordError(f"{name} is no {kind.__name__}, but {value!r:.40}")
    for part, keys in _REQUIRED.items():
        missing = [key for key in keys if key not in getattr(record, part)]
        if missing:
            raise RecordError(f"its {part} has no {', '.join(missing)}")
    series: list[tuple[str, Any]] = [*record.per_image.items(), *record.leave_group_out.items()]
    values = [(name, value) for name, listed in series for value in listed]
    values += [*record.metrics.items(), *record.rate.items(), *record.timing.items()]
    for name, value in values:
        if not isinstance(value, float | int | None):
            raise RecordError(f"{name} is no number, but {value!r:.40}")


def _check_protocol(path: Path, record: Record) -> None:
    parts = {key: value for key, value in record.protocol.items() if key != "sha256"}
    if record.protocol.get("sha256") != canonical_sha256(parts):
        raise RecordError(f"{path.name} is left out: its protocol does not match its hash")
    try:
        table = table_name(record.protocol)
    except (KeyError, TypeError) as error:
        raise RecordError(f"{path.name} is left out: its protocol has no {error}") from error
    if not record.run.startswith(f"{table}-"):
        raise RecordError(f"{path.name} is left out: its run belongs to another protocol")


def _check_name(path: Path, record: Record) -> None:
    """A copy under another name would count a run twice."""
    if path.name != file_name(record):
        raise RecordError(
            f"{path.name} is left out: it holds {file_name(record)}, so it is a copy or was renamed"
        )


def next_attempt(folder: Path, run: str) -> int:
    """The number of the next attempt at a run."""
    return 1 + max((_attempt(path) for path in folder.glob(f"{run}.*.json")), default=0)


def table_name(protocol: dict[str, Any]) -> str:
    """File stem of the table that a protocol's rows stand in."""
    tuned = "-tuned" if protocol["ruleset"] == "tuned" else ""
    compiled = "-compiled" if protocol.get("compile") else ""
    return (
        f"{protocol['recipe']['name']}-{protocol['data']['name']}-{protocol['rate']:g}bit-"
        f"{protocol['budget']}{tuned}{compiled}-{protocol['device']}-{protocol['sha256'][:8]}"
    )


def canonical_sha256(value: Any) -> str:
    """SHA-256 of a value's JSON with sorted keys: equal values, equal hash, on any machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _attempt(path: Path) -> int:
    number = path.name.split(".")[-2]
    return int(number) if number.isdigit() else 0


def _to_json(record: Record) -> str:
    """One key a line, so that a change shows as a change; long lists stay on one line."""
    exact = {"protocol": record.protocol}  # its hash is that of unrounded numbers
    content = json.loads(json.dumps({"schema": SCHEMA, **_finite(asdict(record)), **exact}))
    content["sha256"] = canonical_sha256(content)
    lines = [f'"{key}": {json.dumps(value, allow_nan=False)}' for key, value in content.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _finite(value: Any) -> Any:
    """Rounds to 7 significant digits; JSON has no infinity and no NaN, they become null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value
