"""Curves over budgets: a row of panels per family, a panel per track, bars over seeds. No torch."""

import math
from collections.abc import Mapping, Sequence

from bench.report.curves import TRACKS, Curve
from bench.svg import GRID, Axis, Picture, colour, dashes

_AXES = {"steps": "steps", "wall-clock": "seconds of training", "FLOPs": "FLOPs of training"}
_PANEL, _HEIGHT, _GAP, _LEFT, _TOP, _LINE = 250, 190, 25, 70, 55, 18  # pixels
_WIDTH = _LEFT + len(TRACKS) * (_PANEL + _GAP)
_ROOM = 0.08


def svg(families: Mapping[str, Sequence[Curve]]) -> str:
    """Draws the curves of families of runs, by title."""
    heights = [_TOP + _HEIGHT + 45 + _LINE * len(curves) for curves in families.values()]
    picture = Picture(_WIDTH, sum(heights) + 15)
    for number, (title, curves) in enumerate(families.items()):
        _draw_family(picture, title, curves, sum(heights[:number]))
    return picture.svg()


def _draw_family(picture: Picture, title: str, curves: Sequence[Curve], top: int) -> None:
    bottom = top + _TOP + _HEIGHT
    values = [value for curve in curves for bar in _bars(curve) for value in bar]
    y_axis = Axis(values, start=bottom, end=top + _TOP, room=_ROOM)
    picture.text(8, top + 22, title, bold=True)
    picture.text(8, top + _TOP - 10, curves[0].metric.title)
    for value in y_axis.ticks():
        picture.text(_LEFT - 6, y_axis.place(value) + 4, f"{value:g}", anchor="end")
    for number, track in enumerate(TRACKS):
        _draw_panel(picture, track, curves, _LEFT + number * (_PANEL + _GAP), bottom, y_axis)
    for number, curve in enumerate(curves):
        y = bottom + 55 + _LINE * number
        ends = (_LEFT, y - 4), (_LEFT + 24, y - 4)
        picture.line(*ends, stroke=colour(number), width=2, dashes=dashes(number))
        picture.text(_LEFT + 32, y, curve.title)


def _draw_panel(
    picture: Picture, track: str, curves: Sequence[Curve], left: int, bottom: int, y_axis: Axis
) -> None:
    right, middle = left + _PANEL, left + _PANEL / 2
    for value in y_axis.ticks():
        y = y_axis.place(value)
        picture.line((left, y), (right, y), stroke=GRID)
    picture.line((left, bottom - _HEIGHT), (left, bottom))
    picture.line((left, bottom), (right, bottom))
    picture.text(middle, bottom + 34, _AXES[track], anchor="middle")
    spends = [spend for curve in curves if curve.knows(track) for spend in curve.spent(track)]
    if not spends:
        picture.text(middle, bottom - _HEIGHT / 2, "unknown", anchor="middle")
        return
    x_axis = Axis(spends, start=left, end=right, logarithmic=True, room=_ROOM)
    for value in sorted(set(spends)) if track == "steps" else x_axis.ticks():
        x = x_axis.place(value)
        picture.line((x, bottom), (x, bottom + 4))
        picture.text(x, bottom + 18, f"{value:g}", anchor="middle")
    for number, curve in enumerate(curves):
        if curve.knows(track):
            xs = [x_axis.place(spend) for spend in curve.spent(track)]
            _draw_curve(picture, curve, number, xs, y_axis)


def _draw_curve(
    picture: Picture, curve: Curve, number: int, xs: Sequence[float], y_axis: Axis
) -> None:
    """A line with a dot and the standard deviation over seeds at each budget."""
    ys = [y_axis.place(value) for value in curve.values]
    points = zip(xs, ys, strict=True)
    picture.curve(points, stroke=colour(number), dashes=dashes(number))
    for x, value, (low, high) in zip(xs, curve.values, _bars(curve), strict=True):
        picture.line((x, y_axis.place(low)), (x, y_axis.place(high)), stroke=colour(number))
        title = f"{curve.title}: {value:.4g}"
        picture.dot(x, y_axis.place(value), fill=colour(number), title=title)


def _bars(curve: Curve) -> list[tuple[float, float]]:
    """Mean minus and plus the standard deviation over seeds; the mean twice for a single seed."""
    means = [row.metrics[curve.metric.name] for row in curve.rows]
    spreads = [0.0 if math.isnan(mean.spread) else mean.spread for mean in means]
    return [(m.value - s, m.value + s) for m, s in zip(means, spreads, strict=True)]
