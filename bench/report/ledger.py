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

    NOT_RECORDED = "the record does not have it"
    NO_MAJORITY = "two are equally frequent, or there is none"


Fact = str | Missing  # as JSON, so that equal values are equal texts


@dataclass(frozen=True)
class Value:
    """The fact that every record must have, known in advance."""

    value: Any

    def among(self, facts: Iterable[str]) -> Fact:
        """The required fact, whatever records say."""
        return json.dumps(self.value)


class Majority:
    """The fact that every record must have is the most frequent one."""

    def among(self, facts: Iterable[str]) -> Fact:
        """The required fact."""
        ranked = Counter(facts).most_common(2)
        if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
            return Missing.NO_MAJORITY
        return ranked[0][0]


@dataclass(frozen=True)
class _Rule:
    """One check; `value` gives None if the record does not have it."""

    name: str
    meaning: str
    value: Callable[[Record], Any]
    by_seed: bool = False
    required: Majority | Value = field(default_factory=Majority)

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
        required = rule.required.among(fact for _, fact in facts if isinstance(fact, str))
        failed |= {
            _key(record)
            for record, fact in facts
            if fact != required and (isinstance(fact, str) or _must_have_facts(record))
        }
    return Check(rule.name, rule.meaning, frozenset(failed))


def _no_retry(records: Sequence[Record]) -> Check:
    """Repeating a successful run is not cherry-picking: anybody may repeat a published one."""
    trained = {_key(record) for record in records if record.status in _TRAINED}
    failed = {
        _key(record)
        for record in records
        if not {(record.run, earlier) for earlier in range(1, record.attempt)} <= trained
    }
    meaning = "every earlier attempt at the same run is recorded and ended well"
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


def _tuning(record: Record) -> Any:
    return record.tuning or None


def _device(record: Record) -> list[str]:
    return [record.protocol["device"], record.protocol["precision"]]


_STEP_0 = "bit-identical at step 0, by hash"
_RULES = (
    _Rule("configuration", "configurations are equal except for the quantizer", _configuration),
    _Rule("frame weights", f"encoder and decoder are {_STEP_0}", _hash("frame_at_step_0"), True),
    _Rule(
        "discriminator weights",
        f"the discriminator is {_STEP_0}",
        _hash("discriminator_at_step_0"),
        by_seed=True,
    ),
    _Rule("batch order", "training batches and their order are the same, by hash", _batches, True),
    _Rule("test images", "test images are the same uint8 pixels, by hash", _hash("test_images")),
    _Rule("extractor", "the feature extractor is the same, by hash", _hash("extractor")),
    _Rule("perceptual networks", "perceptual loss and metric are the same, by hash", _networks),
    _Rule(
        "rate",
        f"nominal bits per position are within {RATE_TOLERANCE:.0%} of the rate",
        _rate_is_met,
        required=Value(True),
    ),
    _Rule("steps", "the number of training steps is the same", _spent("steps")),
    _Rule("samples", "the number of training images seen is the same", _spent("samples")),
    _Rule("schedule", "final learning rates are the same", _spent("learning_rates")),
    _Rule("device", "device type and precision are the same", _device),
    _Rule("tuning", "ruleset and number of tuning trials are the same", _tuning),
)
