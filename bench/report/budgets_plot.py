"""Curves over budgets as SVG text: a row of panels a family, a panel a track, bars over seeds.

No plotting library writes it: the same records give the same bytes. This module needs no torch.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape

from bench.report.curves import TRACKS, Curve
from bench.report.footnotes import metric_name

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DASHES = ("", "6 3", "2 3")  # after each round of colours; Okabe and Ito chose these
_AXES = {"steps": "steps", "wall-clock": "seconds of training", "FLOPs": "FLOPs of training"}
_PANEL, _HEIGHT, _GAP, _LEFT, _TOP, _LINE = 250, 190, 25, 70, 55, 18  # pixels
_WIDTH = _LEFT + len(TRACKS) * (_PANEL + _GAP)


def svg(families: Mapping[str, Sequence[Curve]]) -> str:
    """Draws the curves of families of runs, by title."""
    parts: list[str] = []
    top = 0
    for title, found in families.items():
        parts += _family(title, found, top)
        top += _TOP + _HEIGHT + 45 + _LINE * len(found)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top + 15}" '
        f'viewBox="0 0 {_WIDTH} {top + 15}" font-family="sans-serif" font-size="12">'
    )
    ground = f'<rect width="{_WIDTH}" height="{top + 15}" fill="white"/>'
    return "\n".join([head, ground, *parts, "</svg>"]) + "\n"


def _family(title: str, found: Sequence[Curve], top: int) -> list[str]:
    bars = [bar for curve in found for bar in _bars(curve)]
    y_axis = _Axis(
        [value for bar in bars for value in bar], start=top + _TOP + _HEIGHT, end=top + _TOP
    )
    parts = [_text(8, top + 22, title, weight="bold")]
    parts.append(_text(8, top + _TOP - 10, metric_name(found[0].metric)))
    for value in y_axis.ticks():
        parts.append(_text(_LEFT - 6, y_axis.place(value) + 4, f"{value:g}", anchor="end"))
    for number, track in enumerate(TRACKS):
        left = _LEFT + number * (_PANEL + _GAP)
        parts += _panel(track, found, left, top + _TOP, y_axis)
    for line, curve in enumerate(found):
        y = top + _TOP + _HEIGHT + 55 + _LINE * line
        parts.append(f'<path d="M{_LEFT} {y - 4}h24" {_stroke(line)}/>')
        parts.append(_text(_LEFT + 32, y, curve.title))
    return parts


def _panel(track: str, found: Sequence[Curve], left: int, top: int, y_axis: "_Axis") -> list[str]:
    bottom, middle = top + _HEIGHT, left + _PANEL / 2
    parts = [
        f'<path d="M{left} {y_axis.place(value):.1f}h{_PANEL}" stroke="#ddd"/>'
        for value in y_axis.ticks()
    ]
    parts.append(f'<path d="M{left} {top}V{bottom}H{left + _PANEL}" fill="none" stroke="#666"/>')
    parts.append(_text(middle, bottom + 34, _AXES[track], anchor="middle"))
    spends = [spend for curve in found if curve.knows(track) for spend in curve.spent(track)]
    if not spends:
        return [*parts, _text(middle, top + _HEIGHT / 2, "unknown", anchor="middle")]
    x_axis = _Axis(spends, start=left, end=left + _PANEL, logarithmic=True)
    for value in sorted(set(spends)) if track == "steps" else x_axis.ticks():
        x = x_axis.place(value)
        parts.append(f'<path d="M{x:.1f} {bottom}v4" stroke="#666"/>')
        parts.append(_text(x, bottom + 18, f"{value:g}", anchor="middle"))
    for number, curve in enumerate(found):
        if curve.knows(track):
            xs = [x_axis.place(spend) for spend in curve.spent(track)]
            parts += _curve(curve, number, xs, y_axis)
    return parts


def _curve(curve: Curve, number: int, xs: Sequence[float], y_axis: "_Axis") -> list[str]:
    """A line with a dot and the standard deviation over seeds at each budget."""
    points = " ".join(
        f"{x:.1f},{y_axis.place(y):.1f}" for x, y in zip(xs, curve.values, strict=True)
    )
    parts = [f'<polyline points="{points}" fill="none" {_stroke(number)}/>']
    colour = _COLOURS[number % len(_COLOURS)]
    for x, value, (low, high) in zip(xs, curve.values, _bars(curve), strict=True):
        bar = f"M{x:.1f} {y_axis.place(low):.1f}V{y_axis.place(high):.1f}"
        parts.append(f'<path d="{bar}" stroke="{colour}"/>')
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y_axis.place(value):.1f}" r="3.5" fill="{colour}">'
            f"<title>{escape(curve.title)}: {value:.4g}</title></circle>"
        )
    return parts


def _bars(curve: Curve) -> list[tuple[float, float]]:
    """Mean minus and plus the standard deviation over seeds; the mean twice for a single seed."""
    means = [row.metrics[curve.metric] for row in curve.rows]
    spreads = [0.0 if math.isnan(mean.spread) else mean.spread for mean in means]
    return [(m.value - s, m.value + s) for m, s in zip(means, spreads, strict=True)]


def _stroke(number: int) -> str:
    turn, colour = divmod(number, len(_COLOURS))
    dashes = _DASHES[turn % len(_DASHES)]
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'stroke="{_COLOURS[colour]}" stroke-width="2"{dashed}'


class _Axis:
    """Values to pixels, with some room beyond the outermost values."""

    def __init__(
        self, values: Sequence[float], *, start: int, end: int, logarithmic: bool = False
    ) -> None:
        self._start, self._end, self._logarithmic = start, end, logarithmic
        low, high = self._scale(min(values)), self._scale(max(values))
        room = 0.08 * (high - low) or 0.5
        self._low, self._high = low - room, high + room

    def place(self, value: float) -> float:
        """The pixel of a value."""
        share = (self._scale(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    def ticks(self) -> list[float]:
        """Round numbers within the axis: 1, 2 and 5 times powers of ten, or equal steps."""
        if self._logarithmic:
            powers = range(math.floor(self._low), math.ceil(self._high) + 1)
            rounds = [round_ * 10.0**power for power in powers for round_ in (1, 2, 5)]
            return [value for value in rounds if self._low <= math.log10(value) <= self._high]
        power = 10.0 ** math.floor(math.log10((self._high - self._low) / 2))
        steps = [step * power for step in (5, 2, 1)]
        step = next((s for s in steps if (self._high - self._low) / s >= 3), power)
        first, last = math.ceil(self._low / step), math.floor(self._high / step)
        return [float(f"{count * step:.6g}") for count in range(first, last + 1)]

    def _scale(self, value: float) -> float:
        return math.log10(value) if self._logarithmic else value


def _text(
    x: int | float, y: int | float, text: str, *, anchor: str = "start", weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(text)}</text>"
    )
