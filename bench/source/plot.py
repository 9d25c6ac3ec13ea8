"""Gaps to Shannon's bound as a picture, in SVG text."""

import math
from collections.abc import Mapping, Sequence

from bench.source.fitting import Measurement
from bench.source.report import common_bits, gaps_db, lloyd_max_gap_db, order
from bench.svg import GRID, Axis, Picture, colour

_LOW, _HIGH = 0.1, 50.0  # dB; a gap beyond is drawn at the border
_TICKS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_PANEL, _GAP, _LEFT, _TOP, _ROW = 230, 20, 110, 60, 18  # pixels


def svg(rows: Sequence[Measurement]) -> str:
    """One panel per source: a line per method, a dot per dimension, dashes for Lloyd-Max."""
    names = [name for name in order(rows) if not all(map(math.isnan, gaps_db(rows, name)))]
    sources = list(dict.fromkeys(row.source.name for row in rows))
    dimensions = sorted({row.source.dimension for row in rows})
    colours = {dimension: colour(number) for number, dimension in enumerate(dimensions)}
    ys = {name: _TOP + _ROW * line + _ROW // 2 for line, name in enumerate(names)}
    width, bottom = _LEFT + len(sources) * (_PANEL + _GAP), _TOP + _ROW * len(names)
    picture = Picture(width, bottom + 45)
    picture.text(8, 20, "Gap to Shannon's bound in dB at the nominal rate; dashes: Lloyd-Max")
    for number, dimension in enumerate(dimensions):
        x = width - 130 * (len(dimensions) - number)
        picture.dot(x, 16, fill=colours[dimension])
        picture.text(x + 8, 20, f"{dimension} dimensions")
    for name, y in ys.items():
        picture.text(_LEFT - 10, y + 4, name, anchor="end")
    for number, source in enumerate(sources):
        left = _LEFT + number * (_PANEL + _GAP)
        axis = Axis((_LOW, _HIGH), start=left, end=left + _PANEL, logarithmic=True)
        shown = [row for row in rows if row.source.name == source and row.point.name in names]
        picture.text(left, _TOP - 18, source, bold=True)
        _draw_panel(picture, axis, bottom, shown, ys, colours)
    return picture.svg()


def _draw_panel(
    picture: Picture,
    axis: Axis,
    bottom: int,
    rows: Sequence[Measurement],
    ys: Mapping[str, int],
    colours: Mapping[int, str],
) -> None:
    """A grid, dashes where Lloyd-Max is at the rate of most rows, and a dot for each row."""
    for tick in _TICKS:
        x = axis.place(tick)
        picture.line((x, _TOP - 10), (x, bottom), stroke=GRID)
        picture.text(x, bottom + 16, f"{tick:g}", anchor="middle")
    sources = {row.source.dimension: row.source for row in rows}
    for dimension, source in sources.items():
        gap = lloyd_max_gap_db(source, common_bits(rows))
        if not math.isnan(gap):
            x = axis.place(max(gap, _LOW))
            picture.line((x, _TOP - 10), (x, bottom), stroke=colours[dimension], dashes="4 4")
    for row in rows:
        gap, dimension = row.gap_db(row.nominal_rate), row.source.dimension
        if not math.isnan(gap):
            title = f"{row.point.name}, {dimension} dimensions: {gap:.2f} dB"
            x = axis.place(max(gap, _LOW))
            picture.dot(x, ys[row.point.name], fill=colours[dimension], title=title)
