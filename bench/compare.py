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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.command_line import did_you_mean
from bench.leaderboard import tables
from bench.record import Record, read_records
from bench.report.comparison import (
    OVER_SEEDS,
    SEEDS_TO_CLAIM,
    SIGNIFICANCE,
    comparable_metrics,
    cost,
    difference,
)
from bench.report.footnotes import metric_name
from bench.report.ranking import Floor
from bench.report.rows import Row, build_rows, floor_of
from bench.report.table import rank_metric
from bench.statistics import Difference, holm

_FILTERS = ("rate", "budget", "recipe", "data", "device", "ruleset")


class CompareError(ValueError):
    """What the user typed cannot be compared; the message says what to type instead."""


def compare(records: Sequence[Record], names: Sequence[str]) -> str:
    """The comparison of some quantizers in one table, as text.

    Args:
        records: all of one table.
        names: registered names; one that has several rows stands for all of them.

    Raises:
        CompareError: this is a single row.
    """
    rows = build_rows(records, rank_by=rank_metric(records[0]))
    chosen = [row for name in dict.fromkeys(names) for row in rows if row.name == name]
    pairs = list(itertools.combinations(chosen, 2))
    if not pairs:
        raise CompareError(
            f"{names[0]} has one row here; name another quantizer to compare it with"
        )
    floor = floor_of(rows)
    lines = []
    judged = next((r for row in chosen for r in row.records if r.metrics), None)
    if judged is None:
        return "nothing to compare: none of these runs was judged; the table says why"
    for metric in [*comparable_metrics(judged), *(m for m in OVER_SEEDS if m in judged.metrics)]:
        found = [difference(a.records, b.records, metric) for a, b in pairs]
        p_values = holm([one.p if one else math.nan for one in found])
        for pair, one, p in zip(pairs, found, p_values, strict=True):
            lines.append(_line(pair, metric, one, p, floor))
    return pd.DataFrame(lines).to_markdown(index=False, tablefmt="simple", disable_numparse=True)


def verdict(metric: str, found: Difference | None, p: float, floor: float) -> str:
    """What may be said of the first method."""
    if found is None:
        return "unknown: no seed in common, or no values"
    if found.seeds < 2:
        return "unknown: one seed has no error"
    if math.isnan(p):
        return "unknown: the same difference in every seed"
    if abs(found.value) < floor and p < SIGNIFICANCE:
        return f"tie: within the noise floor of {floor:.2g}"
    if p >= SIGNIFICANCE:
        return "tie"
    better = cost(found.value, metric) < 0
    if found.seeds < SEEDS_TO_CLAIM:
        direction = "higher" if found.value > 0 else "lower"
        return f"{direction}; to be called better or worse needs {SEEDS_TO_CLAIM} seeds"
    return "better" if better else "worse"


def _line(
    pair: tuple[Row, Row], metric: str, found: Difference | None, p: float, floor: Floor | None
) -> dict[str, Any]:
    noise = floor.of(metric, seeds=found.seeds) if floor and found else 0.0
    unfair = [f"{row.name} is unfair: {', '.join(row.unfair)}" for row in pair if row.unfair]
    return {
        "first": pair[0].title,
        "second": pair[1].title,
        "metric": metric_name(metric),
        "difference": f"{found.value:+.4g}" if found else "-",
        "95 % interval": _interval(found),
        "p": "-" if math.isnan(p) else f"{p:.2g}",
        "n": _count(found),
        "verdict": "; ".join(unfair) or verdict(metric, found, p, noise),
    }


def _interval(found: Difference | None) -> str:
    if found is None or math.isnan(found.low):
        return "-"
    return f"[{found.low:.4g}, {found.high:.4g}]"


def _count(found: Difference | None) -> str:
    if found is None:
        return "-"
    seeds = f"{found.seeds} seed{'s' if found.seeds > 1 else ''}"
    return f"{seeds} x {found.images} images" if found.images else seeds


def parse(arguments: Sequence[str]) -> tuple[list[str], dict[str, str], Path]:
    """Names, filters and the folder of a command line.

    Raises:
        CompareError: an unknown option, or no name.
    """
    names = [argument for argument in arguments if "=" not in argument]
    options = dict(a.split("=", 1) for a in arguments if "=" in a)
    folder = Path(options.pop("leaderboards", "leaderboards"))
    for key in options:
        if key not in _FILTERS:
            raise CompareError(did_you_mean("option", key, (*_FILTERS, "leaderboards")))
    if not names:
        raise CompareError("no quantizer is named; type python -m bench.compare gsq fsq")
    return names, options, folder


def select(
    records: Sequence[Record], names: Sequence[str], filters: dict[str, str]
) -> dict[str, list[Record]]:
    """The tables that pass the filters and hold every name.

    Raises:
        CompareError: none does; the message lists what there is.
    """
    passing = {n: g for n, g in tables(records).items() if _passes(g[0].protocol, filters)}
    if not passing:
        asked = " ".join(f"{key}={value}" for key, value in filters.items())
        known_tables = ", ".join(tables(records)) or "none"
        raise CompareError(f"no table has {asked or 'records'}; there are: {known_tables}")
    known = {record.quantizer["name"] for group in passing.values() for record in group}
    for name in names:
        if name not in known:
            raise CompareError(did_you_mean("quantizer", name, known))
    wanted = set(names)
    found = {
        table: group
        for table, group in passing.items()
        if wanted <= {record.quantizer["name"] for record in group}
    }
    if not found:
        raise CompareError(f"no table holds all of {', '.join(names)}; type bench.run to make one")
    return found


def _passes(protocol: dict[str, Any], filters: dict[str, str]) -> bool:
    facts = {
        "rate": f"{protocol['rate']:g}",
        "recipe": protocol["recipe"]["name"],
        "data": protocol["data"]["name"],
        **{key: protocol[key] for key in ("budget", "device", "ruleset")},
    }
    return all(facts[key] == value for key, value in filters.items())


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    if any(argument in ("-h", "--help") for argument in arguments):
        print(__doc__)
        return 0
    try:
        names, filters, folder = parse(arguments)
        if not (folder / "records").is_dir():
            raise CompareError(f"no records in {folder / 'records'}; type leaderboards=DIR")
        records, problems = read_records(folder / "records")
        for line in problems:
            print(line, file=sys.stderr)
        for table, group in select(records, names, filters).items():
            print(f"\n{table}\n\n{compare(group, names)}")
    except CompareError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
