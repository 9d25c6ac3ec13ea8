"""One leaderboard as text: Markdown for the disk, a narrower table for the terminal.

This module needs no torch.
"""

import math
import shlex
import statistics
from collections.abc import Sequence

import pandas as pd

from bench.record import Record
from bench.rows import HIGHER_IS_BETTER, Mean, Row, build_rows

_SHARED_HASHES = {
    "frame_at_step_0": "initial weights of encoder and decoder",
    "discriminator_at_step_0": "initial weights of the discriminator",
    "batches": "training batches and their order",
    "test_images": "test images",
}
_LEFT_OUT_OF_COMPACT = ("bits/pixel", "usage ceiling %", "quantizer parameters")


def markdown(title: str, records: Sequence[Record]) -> str:
    """A whole leaderboard file. All records must share one protocol."""
    rows = build_rows(records, rank_by=rank_metric(records[0]))
    parts = [f"# {title}", body(records)]
    failures = [line for row in rows for line in _failures(row)]
    if failures:
        parts.append("## Runs that did not end well\n\n" + "\n".join(failures))
    parts.append("## Protocol\n\n" + "\n".join(_protocol_lines(records[0], rows)))
    parts.append("## How to reproduce\n\n" + _commands(rows))
    return "\n\n".join(parts) + "\n"


def body(records: Sequence[Record], *, compact: bool = False) -> str:
    """The tables alone, contenders and controls, with the lines needed to read them.

    Args:
        records: of one protocol.
        compact: leave out the columns that a first look does not need.
    """
    rows = build_rows(records, rank_by=rank_metric(records[0]))
    contenders = [row for row in rows if row.control is None]
    controls = [row for row in rows if row.control is not None]
    parts = []
    if contenders:
        parts.append(_frame(contenders, compact).to_markdown(index=False, disable_numparse=True))
    if controls:
        lines = [f"- `{row.name}`: {row.control}" for row in controls]
        table = _frame(controls, compact).to_markdown(index=False, disable_numparse=True)
        parts += ["Controls, not ranked:", table, "\n".join(lines)]
    parts.append(_reading_lines(records[0], rows))
    return "\n\n".join(parts)


def terminal(records: Sequence[Record]) -> str:
    """The columns that fit a terminal."""
    rows = build_rows(records, rank_by=rank_metric(records[0]))
    frame = _frame(rows, compact=True)
    return frame.to_markdown(index=False, tablefmt="simple", disable_numparse=True)


def rank_metric(record: Record) -> str:
    """What rows are ranked by: rFID where Inception judged, PSNR where only proxies did."""
    return "rfid" if record.protocol["extractor"]["metric"] == "rfid" else "psnr_db"


def _frame(rows: Sequence[Row], compact: bool) -> pd.DataFrame:
    frame = pd.DataFrame([_cells(row) for row in rows])
    return frame.drop(columns=list(_LEFT_OUT_OF_COMPACT)) if compact else frame


def _cells(row: Row) -> dict[str, str]:
    """One row of the table; the keys are the column heads."""
    protocol = row.records[0].protocol
    perceptual, distance = protocol["perceptual_metric"]["name"], protocol["extractor"]["metric"]
    cells = {
        "rank": str(row.rank) if row.rank else "-",
        "quantizer": row.name,
        "operating point": row.operating_point,
        "bits/position": _number(row.first("rate", "bits_per_position"), 2),
        "bits/pixel": _number(row.first("rate", "bits_per_pixel"), 4),
    }
    for name, digits in {"psnr_db": 2, "ssim": 4, perceptual: 4, distance: 4}.items():
        if name != "none":
            cells[_head(name)] = _mean(row.metrics.get(name), digits)
    times = [record.timing.get("ms_per_step") for record in row.records]
    ms = [time for time in times if time is not None]  # none where a run resumed at its end
    return cells | {
        "usage %": _percent(row.metrics.get("usage")),
        "usage ceiling %": _percent(row.metrics.get("usage_ceiling")),
        "perplexity": _mean(row.metrics.get("perplexity"), 0),
        "quantizer parameters": _integer(row.first("parameters", "quantizer")),
        "ms/step": f"{statistics.median(ms):.0f}" if ms else "-",
        "seeds": ", ".join(str(record.seed) for record in row.records),
        "status": row.status,
    }


def _head(metric: str) -> str:
    name = {"psnr_db": "PSNR dB", "ssim": "SSIM", "rfid": "rFID"}.get(metric, metric)
    return f"{name} {'↑' if metric in HIGHER_IS_BETTER else '↓'}"


def _reading_lines(record: Record, rows: Sequence[Row]) -> str:
    """What a reader must know before believing an order."""
    protocol, metric = record.protocol, rank_metric(record)
    lines = [
        f"Ranked by {_head(metric)[:-2]}. ± is the standard deviation over seeds. Rows that differ "
        "from the best of their group by less than two standard errors share a rank; a row with a "
        "seed that is not `ok` has none."
    ]
    if any(len(row.records) == 1 for row in rows):
        lines.append("A row with one seed has no error, so its place is no finding.")
    if metric != "rfid":
        lines.append(
            f"`{protocol['extractor']['metric']}` is a Fréchet distance, not rFID: its extractor "
            f"is {protocol['extractor']['label']}."
        )
    if protocol["perceptual_metric"]["name"] == "lpips_rand":
        lines.append("`lpips_rand` has the trunk of LPIPS with random weights, so it is not LPIPS.")
    if protocol["perceptual_metric"]["identity"] == protocol["perceptual_loss"] != "none":
        lines.append(f"`{protocol['perceptual_metric']['name']}` is also the training loss.")
    return "\n".join(lines)


def _failures(row: Row) -> list[str]:
    return [
        f"- {row.name} ({row.operating_point}), seed {record.seed}: {record.status}: "
        f"{record.reason.replace('|', '/')}"
        for record in row.records
        if record.status != "ok"
    ]


def _protocol_lines(record: Record, rows: Sequence[Row]) -> list[str]:
    protocol = record.protocol
    recipe = protocol["recipe"]
    frame = [row.first("parameters", part) for part in ("encoder", "decoder") for row in rows[:1]]
    devices = sorted({r.environment["device"] for row in rows for r in row.records})
    commits = sorted({(r.git.get("commit") or "unknown")[:12] for row in rows for r in row.records})
    lines = [
        f"protocol {protocol['version']}, SHA-256 `{protocol['sha256']}`",
        f"recipe `{recipe['name']}`: {recipe['image_size']} px, down-sampling "
        f"{protocol['downsampling']}, {protocol['steps']} steps of {recipe['batch_size']} images "
        f"(budget {protocol['budget']})",
        f"device: {protocol['device']} ({'; '.join(devices)}), {protocol['precision']}",
        f"data: {protocol['data']['description']}; {protocol['data']['test_images']} test images; "
        f"fingerprint `{protocol['data']['fingerprint'][:16]}`",
        f"extractor: `{protocol['extractor']['identity']}`, {protocol['extractor']['label']}",
        f"perceptual loss: `{protocol['perceptual_loss']}`; "
        f"perceptual metric: `{protocol['perceptual_metric']['identity']}`",
        f"commit: {', '.join(commits)}",
        *_fairness_lines(rows),
    ]
    if all(frame):
        lines.insert(2, f"frame: encoder {frame[0]:,} and decoder {frame[1]:,} parameters")
    return [f"- {line}" for line in lines]


def _fairness_lines(rows: Sequence[Row]) -> list[str]:
    """For each seed, what was identical for all quantizers, by hash."""
    records = [record for row in rows for record in row.records]
    equal: list[str] = []
    different: list[str] = []
    for key, meaning in _SHARED_HASHES.items():
        by_seed: dict[int, set[str]] = {}
        for record in records:
            if key in record.hashes:
                by_seed.setdefault(record.seed, set()).add(record.hashes[key])
        if by_seed:
            same = all(len(found) == 1 for found in by_seed.values())
            (equal if same else different).append(meaning)
    lines = [f"identical for all rows of a seed, by hash: {'; '.join(equal)}"] if equal else []
    return lines + [f"**not identical for all rows of a seed: {m}**" for m in different]


def _commands(rows: Sequence[Row]) -> str:
    """One command for all rows that differ in quantizer and seed alone."""
    groups: dict[tuple[str, ...], tuple[list[str], set[int]]] = {}
    for row in rows:
        for record in row.records:
            words = shlex.split(record.command)
            shared = tuple(w for w in words if not w.startswith(("quantizer=", "seed=")))
            names, seeds = groups.setdefault(shared, ([], set()))
            if row.name not in names:
                names.append(row.name)
            seeds.add(record.seed)
    lines = []
    for shared, (names, seeds) in sorted(groups.items()):
        swept = [
            f"quantizer={','.join(sorted(names))}",
            f"seed={','.join(map(str, sorted(seeds)))}",
        ]
        lines.append(shlex.join([*shared[:3], *swept, *shared[3:]]))
    return "\n".join(f"    {line}" for line in lines)


def _mean(mean: Mean | None, digits: int) -> str:
    if mean is None:
        return "-"
    text = _number(mean.value, digits)
    return text if math.isnan(mean.spread) else f"{text} ± {_number(mean.spread, digits)}"


def _percent(mean: Mean | None) -> str:
    return "-" if mean is None else _mean(Mean(100 * mean.value, 100 * mean.spread, mean.seeds), 1)


def _number(value: float | None, digits: int) -> str:
    """Rates of a control are null in a record, which stands for infinity."""
    return "∞" if value is None or math.isinf(value) else f"{value:.{digits}f}"


def _integer(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
