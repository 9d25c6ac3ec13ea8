"""Pictures as SVG text, without a plotting library: the same data give the same bytes. No torch."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TypeAlias

# Okabe and Ito chose the colours for colour-blind readers; each round of them has its own dashes.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DASHES = ("", "6 3", "2 3")
GRID, FRAME = "#ddd", "#666"

Number: TypeAlias = int | float
Point: TypeAlias = tuple[Number, Number]


def colour(number: int) -> str:
    """The colour of the n-th curve; colours repeat after a round."""
    return COLOURS[number % len(COLOURS)]


def dashes(number: int) -> str:
    """The dashes of the n-th curve, which tell apart curves of one colour."""
    return _DASHES[number // len(COLOURS) % len(_DASHES)]


class Picture:
    """A drawing area; the last thing drawn lies on top. Lengths are in pixels, y points down."""

    def __init__(self, width: Number, height: Number) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
        ]

    def text(
        self, x: Number, y: Number, text: str, *, anchor: str = "start", bold: bool = False
    ) -> None:
        """Writes a line of text that starts, ends or has its middle at x."""
        weight = ' font-weight="bold"' if bold else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'
        )

    def line(
        self, start: Point, end: Point, *, stroke: str = FRAME, width: Number = 1, dashes: str = ""
    ) -> None:
        """Draws a straight line."""
        (x1, y1), (x2, y2) = start, end
        self._parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f"{_style(stroke, width, dashes)}/>"
        )

    def curve(self, points: Iterable[Point], *, stroke: str, dashes: str = "") -> None:
        """Connects points by a thick line."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polyline points="{path}" fill="none" {_style(stroke, 2, dashes)}/>')

    def dot(self, x: Number, y: Number, *, fill: str, title: str = "") -> None:
        """Draws a dot; a title is shown under the mouse."""
        shown = f"<title>{escape(title)}</title>" if title else ""
        self._parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}">{shown}</circle>'
        )

    def svg(self) -> str:
        """The whole picture."""
        return "\n".join([*self._parts, "</svg>"]) + "\n"


class Axis:
    """Maps values to pixels.

    Args:
        values: what has to fit on the axis.
        start: pixel of the low end.
        end: pixel of the high end.
        logarithmic: whether equal factors, not equal steps, have equal lengths.
        room: free space at both ends, as a share of the range of the values.
    """

    def __init__(
        self,
        values: Sequence[Number],
        *,
        start: Number,
        end: Number,
        logarithmic: bool = False,
        room: Number = 0.0,
    ) -> None:
        self._start, self._end, self._logarithmic = start, end, logarithmic
        low, high = self._scale(min(values)), self._scale(max(values))
        margin = room * (high - low) if high > low else 0.5
        self._low, self._high = low - margin, high + margin

    def place(self, value: Number) -> float:
        """The pixel of a value; a value beyond an end is placed at the end."""
        share = (self._scale(value) - self._low) / (self._high - self._low)
        return self._start + min(max(share, 0.0), 1.0) * (self._end - self._start)

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

    def _scale(self, value: Number) -> float:
        return math.log10(value) if self._logarithmic else float(value)


def _style(stroke: str, width: Number, dashes: str) -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'stroke="{stroke}" stroke-width="{width}"{dashed}'
