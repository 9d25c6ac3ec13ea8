"""Frechet distance over damage, on two logarithmic axes, as a picture in SVG text."""

from collections.abc import Mapping, Sequence

from bench.svg import GRID, Axis, Picture, colour, dashes

_WIDTH, _HEIGHT = 760, 420
_LEFT, _TOP, _RIGHT, _BOTTOM = 60, 20, 590, 370  # of the axes


def draw_curves(curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draws named curves of (damage, distance) points, all above zero, with a legend.

    Raises:
        ValueError: no points, or a coordinate without a logarithm.
    """
    points = [point for curve in curves.values() for point in curve]
    if not points or min(min(point) for point in points) <= 0:
        raise ValueError("logarithmic axes need points with coordinates above 0")
    damages, distances = zip(*points, strict=True)
    x_axis = Axis(damages, start=_LEFT, end=_RIGHT, logarithmic=True)
    y_axis = Axis(distances, start=_BOTTOM, end=_TOP, logarithmic=True)
    picture = Picture(_WIDTH, _HEIGHT)
    for value in y_axis.ticks():
        y = y_axis.place(value)
        picture.line((_LEFT, y), (_RIGHT, y), stroke=GRID)
        picture.text(_LEFT - 6, y + 4, f"{value:g}", anchor="end")
    for damage in sorted(set(damages)):
        picture.text(x_axis.place(damage), _BOTTOM + 18, f"{damage:g}", anchor="middle")
    picture.text((_LEFT + _RIGHT) / 2, _HEIGHT - 10, "damage", anchor="middle")
    picture.text(_LEFT, 10, "Frechet distance", anchor="middle")
    for number, (name, curve) in enumerate(curves.items()):
        style = {"stroke": colour(number), "dashes": dashes(number)}
        picture.curve([(x_axis.place(x), y_axis.place(y)) for x, y in curve], **style)
        y = _TOP + 18 * number + 8
        picture.line((_RIGHT + 12, y), (_RIGHT + 32, y), width=2, **style)
        picture.text(_RIGHT + 38, y + 4, name)
    return picture.svg()
