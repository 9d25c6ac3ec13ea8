"""Where two methods change places as the budget grows, over steps, time or FLOPs. No torch."""

from collections.abc import Sequence
from itertools import combinations, pairwise

from bench.report.comparison import SIGNIFICANCE, series_difference
from bench.report.curves import Curve

UNITS = {"steps": "{:.0f} steps", "wall-clock": "{:.1f} s of training", "FLOPs": "{:.3g} FLOPs"}


def crossings(curves: Sequence[Curve], track: str) -> list[str]:
    """A line for every change of places between neighbouring spends of two methods.

    The spends compared are all budgets of either method that lie within the range of both.

    Args:
        curves: curves of one family, all of which know the track.
        track: one of `TRACKS`.
    """
    lines = []
    for one, other in combinations(curves, 2):
        spends = _common_spends(one, other, track)
        advantages = [_advantage(one, other, track, spend) for spend in spends]
        for before, after in sign_changes(advantages):
            low, high = spends[before], spends[after]
            share = advantages[before] / (advantages[before] - advantages[after])
            first, second = (one, other) if advantages[before] > 0 else (other, one)
            resolved = all(_is_resolved(one, other, track, spend) for spend in (low, high))
            texts = [UNITS[track].format(x) for x in (low, high, low * (high / low) ** share)]
            lines.append(
                f"{first.title} leads at {texts[0]}, {second.title} at {texts[1]}: they cross near "
                f"{texts[2]}"
                + ("." if resolved else "; not resolved, one of the two orders may be chance.")
            )
    return lines


def sign_changes(values: Sequence[float]) -> list[tuple[int, int]]:
    """Positions of neighbouring values of opposite signs; zeros are skipped."""
    signed = [place for place, value in enumerate(values) if value]
    return [(i, j) for i, j in pairwise(signed) if values[i] * values[j] < 0]


def without_common_range(curves: Sequence[Curve], track: str) -> list[str]:
    """A line for every pair of methods that never spend the same."""
    return [
        f"{one.title} and {other.title} never spend the same."
        for one, other in combinations(curves, 2)
        if len(_common_spends(one, other, track)) < 2
    ]


def _common_spends(one: Curve, other: Curve, track: str) -> list[float]:
    """The budgets of either method that lie within the range of both."""
    ours, theirs = one.spent(track), other.spent(track)
    low, high = max(ours[0], theirs[0]), min(ours[-1], theirs[-1])
    return sorted({spend for spend in [*ours, *theirs] if low <= spend <= high})


def _advantage(one: Curve, other: Curve, track: str, spend: float) -> float:
    """How much better the first method is; positive is better."""
    ours, theirs = one.at(track, spend), other.at(track, spend)
    if ours is None or theirs is None:
        return 0.0
    return one.metric.cost(theirs) - one.metric.cost(ours)


def _is_resolved(one: Curve, other: Curve, track: str, spend: float) -> bool:
    images = one.rows[0].records[0].protocol["data"]["test_images"]
    found = series_difference(
        one.series_at(track, spend), other.series_at(track, spend), images=images
    )
    return found is not None and found.p < SIGNIFICANCE  # False for the NaN of a single seed
