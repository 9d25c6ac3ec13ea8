"""The columns of a leaderboard: each row of a table as cells of text. Needs no torch."""

import statistics
from collections.abc import Sequence

from bench.report.metric import METRICS, Metric, rank_metric, table_metrics
from bench.report.rows import Row, number
from bench.report.timing import step_times

Cells = dict[str, str]  # by the column's head

CODES = [METRICS[name] for name in ("usage", "usage_ceiling", "perplexity")]
_NOT_AT_A_GLANCE = ("bits/pixel", "usage ceiling %", "quantizer parameters", "GFLOP/step")


def cells(
    rows: Sequence[Row], *, compact: bool = False, without: Sequence[str] = ()
) -> list[Cells]:
    """The rows of one table as text.

    Args:
        rows: the rows.
        compact: leave out the columns that a first look does not need.
        without: heads of more columns to leave out.
    """
    omitted = {*without}
    if compact:
        protocol = rows[0].records[0].protocol
        kernel = protocol["extractor"]["kernel_metric"]
        omitted |= {*_NOT_AT_A_GLANCE}
        omitted |= {metric.head for metric in table_metrics(protocol) if metric.name == kernel}
    return [{h: cell for h, cell in _cells(row).items() if h not in omitted} for row in rows]


def has_joint_bits(row: Row) -> bool:
    """Whether a row has several codebooks, which may depend on each other."""
    return any(len(record.codebooks) > 1 for record in row.records)


def _cells(row: Row) -> Cells:
    ms = step_times(row)
    flops = row.first("budget", "train_step_flops")
    parameters = row.first("parameters", "quantizer")
    return {
        "rank": str(row.rank or "-"),
        "quantizer": row.name,
        "operating point": row.operating_point.replace("|", "\\|"),
        "bits/position": number(row.first("rate", "bits_per_position"), 2),
        "measured bits": _measured_bits(row),
        "bits/pixel": number(row.first("rate", "bits_per_pixel"), 4),
        **_metric_cells(row),
        **{metric.head: _mean(row, metric) for metric in CODES},
        "quantizer parameters": "-" if parameters is None else f"{parameters:,}",
        "GFLOP/step": "-" if flops is None else f"{flops / 1e9:.2f}",
        "ms/step": f"{statistics.median(ms):.0f}" if ms else "-",
        "seeds": ", ".join(str(record.seed) for record in row.records),
        "status": f"unfair: {', '.join(row.unfair)}" if row.unfair else row.status,
    }


def _measured_bits(row: Row) -> str:
    """Summed over the codebooks; if there are several, also jointly where every seed has that."""
    measured = row.mean("rate", "measured_bits_per_position")
    if measured is None:
        return "-"
    if not has_joint_bits(row):
        return measured.text(2)
    joint = row.mean("rate", "joint_bits_per_position")
    counted = joint is not None and joint.seeds == measured.seeds
    return f"{measured.text(2)}, joint {joint.text(2) if joint and counted else '-'}"


def _metric_cells(row: Row) -> Cells:
    """The judge's numbers; the metric that ranks is followed by the difference to the best row."""
    protocol = row.records[0].protocol
    ranked_by = rank_metric(protocol)
    cells = {}
    for metric in table_metrics(protocol):
        cells[metric.head] = _mean(row, metric)
        if metric == ranked_by:
            cells[f"Δ {metric.title} [95 %]"] = _gap(row, metric)
    return cells


def _gap(row: Row, metric: Metric) -> str:
    """The difference to the best row with its interval, and whether it is a tie."""
    if row.rank is None:
        return "-"
    return row.gap.text(metric.digits, metric.factor) if row.gap else "best"


def _mean(row: Row, metric: Metric) -> str:
    mean = row.metrics.get(metric.name)
    return mean.text(metric.digits, metric.factor) if mean else "-"
