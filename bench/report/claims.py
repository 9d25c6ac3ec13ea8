"""Claims of a study held against its runs: differences, intervals, verdicts. Needs no torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.conf.studies import Claim
from bench.record import Record
from bench.report.comparison import SEEDS_TO_CLAIM, SEEDS_TO_RANK, SIGNIFICANCE, difference
from bench.report.metric import Metric, described
from bench.report.ranking import Floor
from bench.statistics import Difference, holm

Runs = Mapping[str, Sequence[Record]]  # by the name of a point, one record per seed


@dataclass(frozen=True)
class Judgement:
    """What the runs say about a claim.

    Attributes:
        claim: the claim.
        metric: what it was judged by.
        differences: of each point in the claimed order to the next; None where there is none.
        verdict: `holds`, `does not hold` or `not resolved`, with the reason or the seeds.
    """

    claim: Claim
    metric: Metric
    differences: tuple[Difference | None, ...]
    verdict: str

    def cells(self) -> dict[str, str]:
        """A row of the table of claims; the keys are the column heads."""
        steps = [_interval(step, self.metric.factor) for step in self.differences]
        if len(steps) > 1:
            pairs = pairwise(self.claim.order)
            steps = [f"{a} minus {b}: {step}" for (a, b), step in zip(pairs, steps, strict=True)]
        return {
            "claim": self.claim.text,
            "paper": self.claim.paper,
            "measured by": self.metric.title,
            "difference [95 %]": "; ".join(steps),
            "verdict": self.verdict,
        }


def judge(claim: Claim, runs: Runs, *, rank_by: Metric, floor: Floor | None) -> Judgement:
    """Compares a claim with the fair runs of its points.

    Args:
        claim: a claim without a metric is judged by `rank_by`.
        runs: fair runs only.
        rank_by: what tables of these runs are ranked by.
        floor: a smaller difference does not count.
    """
    metric = described(claim.metric) if claim.metric else rank_by
    differences = tuple(
        difference(runs.get(a, ()), runs.get(b, ()), metric.name) for a, b in pairwise(claim.order)
    )
    return Judgement(claim, metric, differences, verdict(differences, metric, floor))


def verdict(
    differences: Sequence[Difference | None], metric: Metric, floor: Floor | None = None
) -> str:
    """Whether every difference of an order of points has the claimed sign."""
    known = [step for step in differences if step]
    if len(known) < len(differences):
        return "not resolved: runs are missing, failed or unfair"
    seeds = min((step.seeds for step in known), default=0)
    if seeds < SEEDS_TO_RANK:
        return f"not resolved: fewer than {SEEDS_TO_RANK} shared seeds"
    if any(math.isnan(step.p) for step in known):
        return "not resolved: the same difference in every seed"
    corrected = holm([step.p for step in known])
    significant = [
        p < SIGNIFICANCE and abs(step.value) >= _noise(floor, metric, step)
        for p, step in zip(corrected, known, strict=True)
    ]
    as_claimed = [metric.cost(step.value) < 0 for step in known]
    provisional = f" ({seeds} seeds)" if seeds < SEEDS_TO_CLAIM else ""
    if any(clear and not good for clear, good in zip(significant, as_claimed, strict=True)):
        return f"does not hold{provisional}"
    return f"holds{provisional}" if all(significant) else "not resolved at this budget"


def _noise(floor: Floor | None, metric: Metric, step: Difference) -> float:
    return floor.of(metric.name, seeds=step.seeds) if floor else 0.0


def _interval(step: Difference | None, factor: float) -> str:
    if step is None:
        return "no shared values"
    value, low, high = (factor * number for number in (step.value, step.low, step.high))
    if step.seeds < 2:
        return f"{value:+.3g} (one seed)"
    return f"{value:+.3g} [{low:+.3g}, {high:+.3g}]"
