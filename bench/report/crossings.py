"""Where two methods change places as the budget grows, over steps, time or FLOPs. No torch."""

from collections.abc import Sequence
from itertools import combinations, pairwise

from bench.report.comparison import SIGNIFICANCE, cost, series_difference
from bench.report.curves import Curve

UNITS = {"steps": "{:.0f} steps", "wall-clock": "{:.1f} s of training", "FLOPs": "{:.3g} FLOPs"}


def crossings(found: Sequence[Curve], track: str) -> list[str]:
    """A line for every change of places between neighbouring spends of two methods.

    The spends compared are all budgets of either that lie within the range of both.

    Args:
        found: curves of one family, each of which knows the track.
        track: one of `TRACKS`.
    """
    lines = []
    for one, other in combinations(found, 2):
        advantages = [
            (spend, _advantage(one, other, track, spend)) for spend in _common(one, other, track)
        ]
        decided = [(spend, advantage) for spend, advantage in advantages if advantage]
        for (low, before), (high, after) in pairwise(decided):
            if before * after < 0:
                share = before / (before - after)
                first, second = (one, other) if before > 0 else (other, one)
                clear = all(_clear(one, other, track, spend) for spend in (low, high))
                unit = UNITS[track]
                lines.append(
                    f"{first.title} leads at {unit.format(low)}, {second.title} at "
                    f"{unit.format(high)}: they cross near "
                    f"{unit.format(low * (high / low) ** share)}"
                    + ("." if clear else "; not resolved, one of the two orders may be chance.")
                )
    return lines


def without_common_range(found: Sequence[Curve], track: str) -> list[str]:
    """A line for every pair of which each spends more under its smallest budget than the other."""
    return [
        f"{one.title} and {other.title} never spend the same."
        for one, other in combinations(found, 2)
        if len(_common(one, other, track)) < 2
    ]


def _common(one: Curve, other: Curve, track: str) -> list[float]:
    """The budgets of either method that lie within the range of both."""
    ours, theirs = one.spent(track), other.spent(track)
    low, high = max(ours[0], theirs[0]), min(ours[-1], theirs[-1])
    return sorted({spend for spend in [*ours, *theirs] if low <= spend <= high})


def _advantage(one: Curve, other: Curve, track: str, spend: float) -> float:
    """How much better the first is; positive is better."""
    ours, theirs = one.at(track, spend), other.at(track, spend)
    if ours is None or theirs is None:
        return 0.0
    return cost(theirs, one.metric) - cost(ours, one.metric)


def _clear(one: Curve, other: Curve, track: str, spend: float) -> bool:
    images = one.rows[0].records[0].protocol["data"]["test_images"]
    found = series_difference(
        one.series_at(track, spend), other.series_at(track, spend), images=images
    )
    return found is not None and found.p < SIGNIFICANCE  # False for the NaN of a single seed
