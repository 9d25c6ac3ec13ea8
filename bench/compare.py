"""Compares quantizers, or the rows of one, over shared seeds and test images. Needs no torch.

    python -m bench.compare gsq fsq [rate=10] [budget=S] [recipe=tiny] [data=photos] [device=cpu]
                                    [ruleset=default] [leaderboards=DIR]

Prints, for every table that has both and for every metric, the difference (first minus second), its
95 % interval over seeds and test images (over seeds alone for usage and perplexity), the p-value,
the number n of seeds and images, and a verdict. Of several pairs, p is corrected after Holm for
each metric. A difference is a tie where p is 0.05 or more or where it lies within the noise floor;
`better` and `worse` need five seeds.
"""

import itertools
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from bench.command_line import DONE, Options, UsageError, known_name, run_command
from bench.leaderboard import records_below, tables
from bench.record import Record
from bench.report.comparison import (
    SEEDS_TO_CLAIM,
    SIGNIFICANCE,
    difference,
    metrics_over_images,
    metrics_over_seeds,
)
from bench.report.markdown import terminal_table
from bench.report.metric import Metric, metric_of
from bench.report.ranking import Floor
from bench.report.rows import Row
from bench.report.table import Table
from bench.statistics import Difference, holm

_FILTERS = dict.fromkeys(("rate", "budget", "recipe", "data", "device", "ruleset"), "")


def compare(records: Sequence[Record], names: Sequence[str]) -> str:
    """The comparison of quantizers in one table, as text.

    Args:
        records: all of one table.
        names: registered names; a name with several rows stands for all of them.

    Raises:
        UsageError: this is a single row.
    """
    table = Table.of(records)
    rows = [row for name in dict.fromkeys(names) for row in table.rows if row.name == name]
    pairs = list(itertools.combinations(rows, 2))
    if not pairs:
        raise UsageError(f"{names[0]} has one row here; name another quantizer to compare it with")
    judged = next((r for row in rows for r in row.records if r.metrics), None)
    if judged is None:
        return "nothing to compare: none of these runs was judged; the table says why"
    lines = []
    for key in [*metrics_over_images(judged), *metrics_over_seeds(judged)]:
        metric = metric_of(table.protocol, key)
        differences = [difference(a.records, b.records, key) for a, b in pairs]
        p_values = holm([found.p if found else math.nan for found in differences])
        for pair, found, p in zip(pairs, differences, p_values, strict=True):
            lines.append(_line(pair, metric, found, p, table.floor))
    return terminal_table(lines)


def verdict(metric: Metric, found: Difference | None, p: float, floor: float) -> str:
    """What may be said about the first method."""
    if found is None:
        return "unknown: no seed in common, or no values"
    if found.seeds < 2:
        return "unknown: one seed has no error"
    if math.isnan(p):
        return "unknown: the same difference in every seed"
    if abs(found.value) < floor and p < SIGNIFICANCE:
        return f"tie: within the noise floor of {metric.factor * floor:.2g}"
    if p >= SIGNIFICANCE:
        return "tie"
    if found.seeds < SEEDS_TO_CLAIM:
        direction = "higher" if found.value > 0 else "lower"
        return f"{direction}; to be called better or worse needs {SEEDS_TO_CLAIM} seeds"
    return "better" if metric.cost(found.value) < 0 else "worse"


def _line(
    pair: tuple[Row, Row], metric: Metric, found: Difference | None, p: float, floor: Floor | None
) -> dict[str, str]:
    noise = floor.of(metric.name, seeds=found.seeds) if floor and found else 0.0
    unfair = [f"{row.name} is unfair: {', '.join(row.unfair)}" for row in pair if row.unfair]
    return {
        "first": pair[0].title,
        "second": pair[1].title,
        "metric": metric.title,
        "difference": f"{metric.factor * found.value:+.4g}" if found else "-",
        "95 % interval": _interval(found, metric.factor),
        "p": "-" if math.isnan(p) else f"{p:.2g}",
        "n": _count(found),
        "verdict": "; ".join(unfair) or verdict(metric, found, p, noise),
    }


def _interval(found: Difference | None, factor: float) -> str:
    if found is None or math.isnan(found.low):
        return "-"
    return f"[{factor * found.low:.4g}, {factor * found.high:.4g}]"


def _count(found: Difference | None) -> str:
    if found is None:
        return "-"
    seeds = f"{found.seeds} seed{'s' if found.seeds > 1 else ''}"
    return f"{seeds} x {found.images} images" if found.images else seeds


def select(
    records: Sequence[Record], names: Sequence[str], filters: Mapping[str, str]
) -> dict[str, list[Record]]:
    """The tables that pass the filters and hold every name.

    Raises:
        UsageError: there is none; the message lists what there is.
    """
    groups = tables(records)
    passing = {name: g for name, g in groups.items() if _passes(g[0].protocol, filters)}
    if not passing:
        asked = " ".join(f"{key}={value}" for key, value in filters.items() if value)
        listed = ", ".join(groups) or "none"
        raise UsageError(f"no table has {asked or 'records'}; there are: {listed}")
    methods = {name: {r.quantizer["name"] for r in group} for name, group in passing.items()}
    for name in names:
        known_name("quantizer", name, set().union(*methods.values()))
    chosen = {name: group for name, group in passing.items() if {*names} <= methods[name]}
    if not chosen:
        raise UsageError(f"no table holds all of {', '.join(names)}; type bench.run to make one")
    return chosen


def _passes(protocol: Mapping[str, Any], filters: Mapping[str, str]) -> bool:
    facts = {
        "rate": f"{protocol['rate']:g}",
        "recipe": protocol["recipe"]["name"],
        "data": protocol["data"]["name"],
        **{key: protocol[key] for key in ("budget", "device", "ruleset")},
    }
    return all(facts[key] == value for key, value in filters.items() if value)


def _command(options: Options) -> int:
    if not options.others:
        raise UsageError("no quantizer is named; type python -m bench.compare gsq fsq")
    records, problems = records_below(options.folder("leaderboards"))
    for line in problems:
        print(line, file=sys.stderr)
    filters = {key: options[key] for key in _FILTERS}
    for name, group in select(records, options.others, filters).items():
        print(f"\n{name}\n\n{compare(group, options.others)}")
    return DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(
        _command,
        help=__doc__,
        defaults={**_FILTERS, "leaderboards": "leaderboards"},
        arguments=arguments,
        takes=lambda word: "=" not in word,
    )


if __name__ == "__main__":
    sys.exit(main())
