"""The fairness ledger: named checks that only the quantizer differed between the rows of a table.

Each check compares one fact of the records, of a table or of each seed of it, with what most of
them say, or with what it has to be. A record that says something else fails; where there is no
majority, all of them do. Facts come from what was run (hashes of weights, batches and images, rates
of the optimizers), not from what was asked for. This module needs no torch.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.record import Record

RATE_TOLERANCE = 0.02  # of the rate class
# Of the configuration: what may differ, and what other checks look at as it was resolved.
_FREE = (
    *("quantizer", "seed", "plugins", "rate"),
    *("device", "precision", "extractor", "perceptual_metric"),
)
_FREE_IN = {"recipe": ("log_every", "checkpoint_every"), "data": ("root", "workers")}


@dataclass(frozen=True)
class _Rule:
    name: str
    meaning: str
    fact: Callable[[Record], Any]  # None: not recorded
    by_seed: bool = False
    expected: Any = None  # None: what most records say


@dataclass(frozen=True)
class Check:
    """One check of a table.

    Attributes:
        name: what the status of a row calls it.
        meaning: what has to hold.
        failed: the records that fail it, as (run, attempt).
    """

    name: str
    meaning: str
    failed: frozenset[tuple[str, int]]


def check_records(records: Sequence[Record]) -> list[Check]:
    """All checks over the records of one table."""
    return [*(_check(rule, records) for rule in _RULES), _no_retry(records)]


def failed_checks(checks: Iterable[Check], records: Iterable[Record]) -> tuple[str, ...]:
    """Names of the checks that any of some records fails."""
    keys = {_key(record) for record in records}
    return tuple(check.name for check in checks if check.failed & keys)


def _check(rule: _Rule, records: Sequence[Record]) -> Check:
    groups: dict[int | None, list[tuple[Record, str | None]]] = defaultdict(list)
    required: str | None
    for record in records:
        fact = rule.fact(record)
        if fact is not None or _must_have_facts(record):
            text = None if fact is None else json.dumps(fact, sort_keys=True)
            groups[record.seed if rule.by_seed else None].append((record, text))
    failed = set()
    for group in groups.values():
        required = json.dumps(rule.expected)
        if rule.expected is None:
            required = _majority(text for _, text in group)
        failed |= {_key(record) for record, text in group if text is None or text != required}
    return Check(rule.name, rule.meaning, frozenset(failed))


def _no_retry(records: Sequence[Record]) -> Check:
    """To repeat a run that ended well is no second chance: anybody may repeat a published one."""
    ended_well: dict[str, set[int]] = defaultdict(set)
    for record in records:
        if record.status in ("ok", "collapsed"):
            ended_well[record.run].add(record.attempt)
    failed = {
        _key(record)
        for record in records
        if not set(range(1, record.attempt)) <= ended_well[record.run]
    }
    meaning = "every earlier attempt at the same run is here and ended well"
    return Check("no retry", meaning, frozenset(failed))


def _majority(facts: Iterable[str | None]) -> str | None:
    """The most frequent fact; None where two are."""
    ranked = Counter(fact for fact in facts if fact is not None).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def _must_have_facts(record: Record) -> bool:
    """A failed run has no facts from after its failure, an untrained control none of training."""
    return record.status in ("ok", "collapsed") and record.quantizer["control"] is None


def _key(record: Record) -> tuple[str, int]:
    return record.run, record.attempt


def _configuration(record: Record) -> Any:
    """The resolved configuration without the quantizer; None where there was no training."""
    config = {key: value for key, value in record.config.items() if key not in _FREE}
    for part, keys in _FREE_IN.items():
        if part in config:
            config[part] = {k: v for k, v in config[part].items() if k not in keys}
    return config or None


def _rate(record: Record) -> Any:
    """Whether the rate is met; a control has no rate to meet."""
    bits = record.rate.get("bits_per_position")
    if record.quantizer["control"] is not None or bits is None:
        return None
    target = record.protocol["rate"]
    return bool(abs(bits - target) <= RATE_TOLERANCE * target)


def _batches(record: Record) -> Any:
    batches = record.hashes.get("batches")
    return batches and [record.seeds.get("data"), record.seeds.get("augment"), batches]


def _networks(record: Record) -> Any:
    names = ("perceptual_loss", "perceptual_metric")
    hashes = [record.hashes.get(name) for name in names]
    return hashes if all(hashes) else None


def _hash(name: str) -> Callable[[Record], Any]:
    return lambda record: record.hashes.get(name)


def _spent(name: str) -> Callable[[Record], Any]:
    return lambda record: record.budget.get(name)


_RULES = (
    _Rule(
        "configuration", "resolved configurations are equal without the quantizer", _configuration
    ),
    _Rule(
        "frame weights",
        "encoder and decoder are bit-identical at step 0, by hash",
        _hash("frame_at_step_0"),
        by_seed=True,
    ),
    _Rule(
        "discriminator weights",
        "the discriminator is bit-identical at step 0, by hash",
        _hash("discriminator_at_step_0"),
        by_seed=True,
    ),
    _Rule(
        "batch order",
        "training batches are the same in the same order, by hash",
        _batches,
        by_seed=True,
    ),
    _Rule(
        "test images", "the test images are the same uint8 pixels, by hash", _hash("test_images")
    ),
    _Rule("extractor", "the feature extractor is the same, by hash", _hash("extractor")),
    _Rule("perceptual networks", "perceptual loss and metric are the same, by hash", _networks),
    _Rule(
        "rate",
        f"nominal bits per position are within {RATE_TOLERANCE:.0%} of the class",
        _rate,
        expected=True,
    ),
    _Rule("steps", "as many training steps were done", _spent("steps")),
    _Rule("samples", "as many training images were seen", _spent("samples")),
    _Rule(
        "schedule", "the optimizers ended with the same learning rates", _spent("learning_rates")
    ),
    _Rule(
        "device",
        "kind of device and precision are equal",
        lambda record: [record.protocol["device"], record.protocol["precision"]],
    ),
    _Rule(
        "tuning",
        "as many tuning trials were made, under one ruleset",
        lambda record: record.tuning or None,
    ),
)
