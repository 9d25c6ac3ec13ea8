"""The fairness ledger: named checks that only the quantizer differs between the rows of a table.

Each check compares one fact of every record with what most records say, or with a required value. A
record that disagrees fails; without a majority all records fail. Facts describe what was run
(hashes of weights, batches and images, learning rates of the optimizers), not what was requested.
This module needs no torch.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from bench.record import RATE_TOLERANCE, Record, grouped

# Parts of the configuration that may differ, or that other checks look at as they were resolved.
_FREE = (
    *("quantizer", "seed", "plugins", "rate"),
    *("device", "precision", "extractor", "perceptual_metric"),
)
_FREE_IN = {"recipe": ("log_every", "checkpoint_every"), "data": ("root", "workers")}
_TRAINED = ("ok", "collapsed")  # statuses of runs that were trained and judged to the end


class Missing(Enum):
    """What stands in place of a fact."""

    NOT_RECORDED = "the record does not have the fact"
    NO_MAJORITY = "two facts are equally frequent, or there is none"


Fact = str | Missing  # as JSON, so that equal values are equal texts


@dataclass(frozen=True)
class Value:
    """A record passes if its fact is this value."""

    value: Any

    def required(self, facts: Iterable[str]) -> Fact:
        """The fact that every record must have."""
        return json.dumps(self.value)


@dataclass(frozen=True)
class Majority:
    """A record passes if its fact is the most frequent one."""

    def required(self, facts: Iterable[str]) -> Fact:
        """The fact that every record must have."""
        ranked = Counter(facts).most_common(2)
        if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
            return Missing.NO_MAJORITY
        return ranked[0][0]


@dataclass(frozen=True)
class _Rule:
    """One check: the fact of a record (None if not recorded) and what it is compared with."""

    name: str
    meaning: str
    value: Callable[[Record], Any]
    by_seed: bool = False
    expected: Majority | Value = field(default_factory=Majority)

    def fact(self, record: Record) -> Fact:
        value = self.value(record)
        return Missing.NOT_RECORDED if value is None else json.dumps(value, sort_keys=True)


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
    """Names of the checks that at least one of the records fails."""
    keys = {_key(record) for record in records}
    return tuple(check.name for check in checks if check.failed & keys)


def _check(rule: _Rule, records: Sequence[Record]) -> Check:
    failed = set()
    for group in grouped(records, lambda record: record.seed if rule.by_seed else None).values():
        facts = [(record, rule.fact(record)) for record in group]
        required = rule.expected.required(fact for _, fact in facts if isinstance(fact, str))
        failed |= {
            _key(record)
            for record, fact in facts
            if fact != required and (isinstance(fact, str) or _must_have_facts(record))
        }
    return Check(rule.name, rule.meaning, frozenset(failed))


def _no_retry(records: Sequence[Record]) -> Check:
    """Repeating a successful run is not cherry-picking: anybody may repeat a published one."""
    trained = grouped(
        (record for record in records if record.status in _TRAINED), lambda record: record.run
    )
    attempts = {run: {record.attempt for record in group} for run, group in trained.items()}
    failed = {
        _key(record)
        for record in records
        if not set(range(1, record.attempt)) <= attempts.get(record.run, set())
    }
    meaning = "every earlier attempt at the same run is here and ended well"
    return Check("no retry", meaning, frozenset(failed))


def _must_have_facts(record: Record) -> bool:
    """A failed run lacks facts from after its failure, an untrained control those of training."""
    return record.status in _TRAINED and record.quantizer["control"] is None


def _key(record: Record) -> tuple[str, int]:
    return record.run, record.attempt


def _configuration(record: Record) -> Any:
    """The resolved configuration without the quantizer; None without training."""
    config = {key: value for key, value in record.config.items() if key not in _FREE}
    for part, keys in _FREE_IN.items():
        if part in config:
            config[part] = {k: v for k, v in config[part].items() if k not in keys}
    return config or None


def _rate_is_met(record: Record) -> bool | None:
    """None for a control, which has no rate to meet."""
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
        _rate_is_met,
        expected=Value(True),
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
