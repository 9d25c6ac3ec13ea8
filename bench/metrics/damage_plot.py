"""A picture of curves over two logarithmic axes, as SVG text: no plotting library, equal bytes."""

import math
from collections.abc import Mapping, Sequence

_WIDTH, _HEIGHT = 760, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 170, 20, 50  # margins in pixels
_COLOURS = (
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#7f7f7f",
    "#bcbd22",
    "#17becf",
)


def draw_curves(curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draws named curves of (damage, distance) points, all above zero, with a legend.

    Raises:
        ValueError: no points, or a coordinate that has no logarithm.
    """
    points = [point for curve in curves.values() for point in curve]
    if not points or min(min(point) for point in points) <= 0:
        raise ValueError("logarithmic axes need points with coordinates above 0")
    xs, ys = zip(*points, strict=True)
    x_axis, y_axis = _Axis(min(xs), max(xs)), _Axis(min(ys), max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + x_axis.share(x) * (_WIDTH - _LEFT - _RIGHT)
        return across, _HEIGHT - _BOTTOM - y_axis.share(y) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    for value in y_axis.decades():
        _, y = place(xs[0], value)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{value:g}", "end"))
    for x in sorted(set(xs)):
        parts.append(_text(place(x, ys[0])[0], bottom + 18, f"{x:g}", "middle"))
    parts.append(_text((_LEFT + right) / 2, _HEIGHT - 10, "damage", "middle"))
    parts.append(_text(_LEFT, 14, "Frechet distance", "middle"))
    for number, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in curve))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        y = _TOP + 18 * number + 8
        parts.append(f'<path d="M{right + 12} {y}h20" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(right + 38, y + 4, name, "start"))
    return "\n".join([*parts, "</svg>", ""])


class _Axis:
    """A logarithmic axis."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = math.log10(low), math.log10(high)

    def share(self, value: float) -> float:
        """Where a value lies between the ends, 0 to 1."""
        return (math.log10(value) - self.low) / (self.high - self.low or 1)

    def decades(self) -> list[float]:
        """Powers of ten on the axis."""
        return [10.0**power for power in range(math.ceil(self.low), math.floor(self.high) + 1)]


def _text(x: float | int, y: float | int, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
