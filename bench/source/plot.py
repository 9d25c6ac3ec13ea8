"""Gaps to Shannon's bound as an SVG, written as text, so that it needs no plotting library."""

import math
from collections.abc import Sequence
from html import escape

from bench.source.fitting import Measurement
from bench.source.report import common_bits, lloyd_max_gap_db, order
from bench.source.sources import Source

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
_LOW, _HIGH = 0.1, 50.0  # dB; what lies outside is drawn at the border
_TICKS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_PANEL, _GAP, _LEFT, _TOP, _ROW = 230, 20, 110, 60, 18  # pixels


def svg(rows: Sequence[Measurement]) -> str:
    """One panel a source: a line a method, a dot a dimension, Lloyd-Max as dashes in its colour."""
    names = [name for name in order(rows) if _has_gap(rows, name)]
    sources = list(dict.fromkeys(row.source.name for row in rows))
    dimensions = sorted({row.source.dimension for row in rows})
    colours = {d: _COLOURS[i % len(_COLOURS)] for i, d in enumerate(dimensions)}
    width = _LEFT + len(sources) * (_PANEL + _GAP)
    bottom = _TOP + _ROW * len(names)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{bottom + 45}" '
        f'viewBox="0 0 {width} {bottom + 45}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{bottom + 45}" fill="white"/>',
        _text(8, 20, "Gap to Shannon's bound in dB at the nominal rate; dashes: Lloyd-Max"),
    ]
    for place, dimension in enumerate(dimensions):
        key = width - 130 * (len(dimensions) - place)
        parts.append(f'<circle cx="{key}" cy="16" r="4" fill="{colours[dimension]}"/>')
        parts.append(_text(key + 8, 20, f"{dimension} dimensions"))
    for line, name in enumerate(names):
        parts.append(_text(_LEFT - 10, _y(line) + 4, name, anchor="end"))
    for panel, source in enumerate(sources):
        left = _LEFT + panel * (_PANEL + _GAP)
        mine = [row for row in rows if row.source.name == source and row.point.name in names]
        parts += _axes(left, bottom, source)
        parts += _lloyd_max(mine, left, bottom, colours)
        for row in mine:
            gap = row.gap_db(row.nominal_rate)
            if math.isnan(gap):
                continue
            x, y = left + _x(gap), _y(names.index(row.point.name))
            title = escape(f"{row.point.name}, {row.source.dimension} dimensions: {gap:.2f} dB")
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y}" r="4" fill="{colours[row.source.dimension]}">'
                f"<title>{title}</title></circle>"
            )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axes(left: int, bottom: int, title: str) -> list[str]:
    parts = [_text(left, _TOP - 18, title, weight="bold")]
    for tick in _TICKS:
        x = left + _x(tick)
        parts.append(
            f'<line x1="{x:.1f}" y1="{_TOP - 10}" x2="{x:.1f}" y2="{bottom}" stroke="#ddd"/>'
        )
        parts.append(_text(x, bottom + 16, f"{tick:g}", anchor="middle"))
    return parts


def _lloyd_max(
    rows: Sequence[Measurement], left: int, bottom: int, colours: dict[int, str]
) -> list[str]:
    """Dashes at the gap that Lloyd-Max has at the rate of most rows, one line a dimension."""
    by_dimension: dict[int, Source] = {row.source.dimension: row.source for row in rows}
    bits = common_bits(rows)
    gaps = {d: lloyd_max_gap_db(source, bits) for d, source in by_dimension.items()}
    return [
        f'<line x1="{left + _x(gap):.1f}" y1="{_TOP - 10}" x2="{left + _x(gap):.1f}" '
        f'y2="{bottom}" stroke="{colours[dimension]}" stroke-dasharray="4 4"/>'
        for dimension, gap in gaps.items()
        if not math.isnan(gap)
    ]


def _has_gap(rows: Sequence[Measurement], name: str) -> bool:
    gaps = [row.gap_db(row.nominal_rate) for row in rows if row.point.name == name]
    return any(not math.isnan(gap) for gap in gaps)


def _x(gap: float) -> float:
    """A logarithmic axis."""
    share = math.log(min(max(gap, _LOW), _HIGH) / _LOW) / math.log(_HIGH / _LOW)
    return share * _PANEL


def _y(line: int) -> int:
    return _TOP + _ROW * line + _ROW // 2


def _text(
    x: int | float, y: int, text: str, *, anchor: str = "start", weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(text)}</text>"
    )
