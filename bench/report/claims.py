"""Claims of a study held against its runs: differences, intervals, verdicts. Needs no torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.conf.studies import Claim
from bench.record import Record
from bench.report.comparison import (
    SEEDS_TO_CLAIM,
    SEEDS_TO_RANK,
    SIGNIFICANCE,
    cost,
    difference,
)
from bench.report.footnotes import metric_name
from bench.report.ranking import Floor
from bench.statistics import Difference, holm

Runs = Mapping[str, Sequence[Record]]  # by the point's name, one record a seed


@dataclass(frozen=True)
class Judgement:
    """What the runs say of a claim.

    Attributes:
        claim: the claim.
        metric: what it was judged by.
        found: the difference of each point of its order to the next; None where there is none.
        verdict: `holds`, `does not hold` or `not resolved`, with the reason or the seeds.
    """

    claim: Claim
    metric: str
    found: tuple[Difference | None, ...]
    verdict: str

    def cells(self) -> dict[str, str]:
        """A row of the table of claims; the keys are the column heads."""
        name, factor = unit(self.metric)
        steps = [_interval(one, factor) for one in self.found]
        if len(steps) > 1:
            pairs = pairwise(self.claim.order)
            steps = [f"{a} minus {b}: {step}" for (a, b), step in zip(pairs, steps, strict=True)]
        return {
            "claim": self.claim.text,
            "paper": self.claim.paper,
            "measured by": name,
            "difference [95 %]": "; ".join(steps),
            "verdict": self.verdict,
        }


def unit(metric: str) -> tuple[str, float]:
    """What a page calls a metric, and by how much it multiplies the values of records."""
    return ("usage %", 100.0) if metric == "usage" else (metric_name(metric), 1.0)


def judge(claim: Claim, runs: Runs, *, rank_by: str, floor: Floor | None) -> Judgement:
    """Holds a claim against the fair runs of its points.

    Args:
        claim: one that names no metric is judged by `rank_by`.
        runs: fair ones alone.
        rank_by: what tables of these runs are ranked by.
        floor: below it a difference counts as none.
    """
    metric = claim.metric or rank_by
    found = tuple(
        difference(runs.get(a, ()), runs.get(b, ()), metric) for a, b in pairwise(claim.order)
    )
    return Judgement(claim, metric, found, verdict(found, metric, floor))


def verdict(found: Sequence[Difference | None], metric: str, floor: Floor | None = None) -> str:
    """Whether every difference of an order of points goes the claimed way."""
    known = [difference for difference in found if difference]
    if len(known) < len(found):
        return "not resolved: runs are missing, failed or unfair"
    seeds = min((one.seeds for one in known), default=0)
    if seeds < SEEDS_TO_RANK:
        return f"not resolved: fewer than {SEEDS_TO_RANK} shared seeds"
    if any(math.isnan(one.p) for one in known):
        return "not resolved: the same difference in every seed"
    corrected = holm([difference.p for difference in known])
    clear = [
        p < SIGNIFICANCE and abs(one.value) >= _noise(floor, metric, one)
        for p, one in zip(corrected, known, strict=True)
    ]
    as_claimed = [cost(difference.value, metric) < 0 for difference in known]
    provisional = f" ({seeds} seeds)" if seeds < SEEDS_TO_CLAIM else ""
    if any(c and not a for c, a in zip(clear, as_claimed, strict=True)):
        return f"does not hold{provisional}"
    return f"holds{provisional}" if all(clear) else "not resolved at this budget"


def _noise(floor: Floor | None, metric: str, found: Difference) -> float:
    return floor.of(metric, seeds=found.seeds) if floor else 0.0


def _interval(found: Difference | None, factor: float) -> str:
    if found is None:
        return "no shared values"
    value, low, high = (factor * number for number in (found.value, found.low, found.high))
    if found.seeds < 2:
        return f"{value:+.3g} (one seed)"
    return f"{value:+.3g} [{low:+.3g}, {high:+.3g}]"
