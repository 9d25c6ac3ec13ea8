"""Why two rows are in different tables: how their protocols differ. Needs no torch."""

from collections.abc import Mapping
from typing import Any


def explain_tables(protocols: Mapping[str, Mapping[str, Any]]) -> str:
    """For each table, the most similar one and every fact in which the two differ."""
    if len(protocols) < 2:
        return f"nothing to explain: the number of tables is {len(protocols)}"
    return "\n\n".join(_section(name, protocols) for name in sorted(protocols))


def differing_facts(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple]:
    """Facts in which two protocols differ, by dotted name, without the hash of the whole."""
    ours, theirs = _flat(first), _flat(second)
    names = sorted((ours.keys() | theirs.keys()) - {"sha256"})
    return {
        name: (ours.get(name, "absent"), theirs.get(name, "absent"))
        for name in names
        if ours.get(name, "absent") != theirs.get(name, "absent")
    }


def _section(name: str, protocols: Mapping[str, Mapping[str, Any]]) -> str:
    facts = {
        other: differing_facts(protocols[name], protocols[other])
        for other in sorted(protocols)
        if other != name
    }
    nearest = min(facts, key=lambda other: (len(facts[other]), other))
    lines = [
        f"  {fact}: {ours} here, {theirs} there" for fact, (ours, theirs) in facts[nearest].items()
    ]
    return "\n".join([f"{name} differs from the most similar table, {nearest}, in", *lines])


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat |= _flat(item, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = item
    return flat
