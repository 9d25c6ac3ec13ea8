"""What stands under a table: how to read it, whether it is fair, under which protocol.

This module needs no torch.
"""

import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from bench.record import Record
from bench.report.columns import has_joint_bits
from bench.report.comparison import SEEDS_TO_CLAIM, SEEDS_TO_RANK, metrics_over_images
from bench.report.ledger import Check
from bench.report.metric import Metric, metric_of, table_metrics
from bench.report.ranking import Floor
from bench.report.rows import Row
from bench.report.table import Table
from bench.report.timing import machine, timing_lines


def reading_lines(table: Table) -> list[str]:
    """What a reader must know before believing an order."""
    return [
        ranking_line(table.metric),
        *_seed_lines(table.rows),
        _rate_line(table.rows),
        floor_line(table.floor, table.judged),
        *timing_lines(table.rows),
        *metric_lines(table.protocol),
    ]


def ranking_line(metric: Metric) -> str:
    """What a rank and a difference are."""
    return (
        f"Ranked by {metric.title}. ± is the standard deviation over seeds. Δ is the "
        "difference to the best row, with its 95 % interval over seeds and test images. Rows share "
        "a rank down to the first whose difference to the best of them is no tie: Holm's "
        "correction leaves p below 0.05, and it lies outside the noise floor."
    )


def provisional(rows: Sequence[Row]) -> list[Row]:
    """Ranked rows with fewer seeds than a claim needs."""
    fair = [row for row in rows if row.competes]
    return [row for row in fair if SEEDS_TO_RANK <= len(row.records) < SEEDS_TO_CLAIM]


def metric_lines(protocol: Mapping[str, Any]) -> list[str]:
    """Which metrics are stand-ins for better-known ones, and what others need to be understood."""
    notes = {metric.name: metric.note for metric in table_metrics(protocol) if metric.note}
    lines = [f"`{name}`: {note}" for name, note in notes.items()]
    if protocol["extractor"]["metric"] != "rfid":
        lines.append(
            f"`{protocol['extractor']['metric']}` is a Fréchet distance, not rFID: its extractor "
            f"is {protocol['extractor']['label']}."
        )
    if protocol["perceptual_metric"]["name"] == "lpips_rand":
        lines.append("`lpips_rand` has the trunk of LPIPS with random weights, so it is not LPIPS.")
    if protocol["perceptual_metric"]["identity"] == protocol["perceptual_loss"] != "none":
        lines.append(f"`{protocol['perceptual_metric']['name']}` is also the training loss.")
    return lines


def ledger_line(checks: Sequence[Check]) -> str:
    """`fair: 14/14 checks`, and the names of those that fail."""
    failed = [check.name for check in checks if check.failed]
    line = f"fair: {len(checks) - len(failed)}/{len(checks)} checks"
    return f"{line}; fails: {', '.join(failed)}" if failed else line


def ledger_details(table: Table) -> str:
    """The line above, which unfolds to all checks."""
    lines = [_check_line(check, table.records) for check in table.checks]
    return (
        f"<details><summary>{ledger_line(table.checks)}</summary>\n\n"
        "| check | what has to hold between the rows | |\n|:--|:--|:--|\n"
        + "\n".join(lines)
        + "\n\n</details>"
    )


def floor_line(floor: Floor | None, record: Record) -> str:
    """The noise floor of a table, and the row that it comes from; `record` has values of images."""
    if floor is None:
        return (
            f"Noise floor: unknown, since no fair contender ended well with {SEEDS_TO_CLAIM} seeds."
        )
    metrics = [metric_of(record.protocol, key) for key in metrics_over_images(record)]
    known = [metric for metric in metrics if floor.of(metric.name)]
    single = ", ".join(_floor_text(floor, metric) for metric in known)
    means = ", ".join(_floor_text(floor, metric, SEEDS_TO_RANK) for metric in known[:1])
    return (
        f"Noise floor, from {floor.seeds} seeds of {floor.name}: two runs that differ in the seed "
        f"alone lie within {single} of each other (95 %). The floor of two means over n seeds each "
        f"is smaller by the root of n: {means} for {SEEDS_TO_RANK} seeds."
    )


def failure_lines(rows: Sequence[Row]) -> list[str]:
    """Runs that did not end well, with their reasons."""
    return [
        f"- {row.title}, seed {record.seed}: {record.status}: {record.reason.replace('|', '/')}"
        for row in rows
        for record in row.records
        if record.status != "ok"
    ]


def protocol_lines(table: Table) -> list[str]:
    """What all rows share."""
    protocol, rows = table.protocol, table.rows
    recipe = protocol["recipe"]
    trained = next((row for row in rows if row.first("parameters", "encoder")), None)
    devices = sorted({machine(r) for row in rows for r in row.records})
    commits = sorted({(r.git.get("commit") or "unknown")[:12] for row in rows for r in row.records})
    lines = [
        f"protocol {protocol['version']}, SHA-256 `{protocol['sha256']}`",
        f"recipe `{recipe['name']}`: {recipe['image_size']} px, down-sampling "
        f"{protocol['downsampling']}, {protocol['steps']} steps of {recipe['batch_size']} images "
        f"(budget {protocol['budget']})",
        f"ruleset: {protocol['ruleset']}, {protocol['trials']} tuning trials a method",
        f"device: {protocol['device']} ({'; '.join(devices)}), {protocol['precision']}",
        f"data: {protocol['data']['description']}; {protocol['data']['test_images']} test images; "
        f"fingerprint `{protocol['data']['fingerprint'][:16]}`",
        f"extractor: `{protocol['extractor']['identity']}`, {protocol['extractor']['label']}",
        f"perceptual loss: `{protocol['perceptual_loss']}`; "
        f"perceptual metric: `{protocol['perceptual_metric']['identity']}`",
        f"evaluation code: SHA-256 `{protocol['evaluation_code'][:16]}`",
        f"commit: {', '.join(commits)}",
    ]
    if trained:
        encoder, decoder = (trained.first("parameters", part) for part in ("encoder", "decoder"))
        lines.insert(2, f"frame: encoder {encoder:,} and decoder {decoder:,} parameters")
    return lines


def commands(rows: Sequence[Row]) -> str:
    """One command for all runs that differ only in quantizer and seed, other commands as typed."""
    quantizers: dict[tuple[str, ...], set[str]] = defaultdict(set)
    seeds: dict[tuple[str, ...], set[int]] = defaultdict(set)
    others = set()
    for row in rows:
        for record in row.records:
            words = shlex.split(record.command)
            if "bench.run" not in words:
                others.add(record.command)
                continue
            shared = tuple(w for w in words if not w.startswith(("quantizer=", "seed=")))
            quantizers[shared].add(row.name)
            seeds[shared].add(record.seed)
    lines = []
    for shared in sorted(quantizers):
        names, numbers = sorted(quantizers[shared]), sorted(seeds[shared])
        words = [f"quantizer={','.join(names)}", f"seed={','.join(map(str, numbers))}"]
        lines.append(shlex.join([*shared[:3], *words, *shared[3:]]))
    return "\n".join(f"    {line}" for line in [*lines, *sorted(others)])


def _rate_line(rows: Sequence[Row]) -> str:
    """What measured bits are, of one codebook and of several."""
    line = (
        "Measured bits are the entropy of the indices of each codebook alone, summed, with the "
        "Miller-Madow correction."
    )
    if any(map(has_joint_bits, rows)):
        line += (
            " Joint bits are the entropy of several codebooks together, which a coder that knows "
            "their dependence needs; - where a run has fewer than ten positions for each joint "
            "code in use, too few to count it."
        )
    return line


def _seed_lines(rows: Sequence[Row]) -> list[str]:
    """Which rows have fewer seeds than a claim needs."""
    too_few = [row for row in rows if row.competes and len(row.records) < SEEDS_TO_RANK]
    no_claim = provisional(rows)
    lines = []
    if too_few:
        lines.append(
            f"A rank needs {SEEDS_TO_RANK} seeds that most rows have; fewer have: "
            f"{', '.join(map(_counted, too_few))}."
        )
    if no_claim:
        lines.append(
            f"To be called better or worse needs {SEEDS_TO_CLAIM} seeds; the place of these, with "
            f"fewer, is provisional: {', '.join(map(_counted, no_claim))}."
        )
    return lines


def _floor_text(floor: Floor, metric: Metric, seeds: int = 1) -> str:
    """A floor as records have it, without the factor of tables."""
    name = metric.title if metric.factor == 1 else metric.name
    return f"{floor.of(metric.name, seeds=seeds):.2g} {name}"


def _counted(row: Row) -> str:
    return f"{row.title}: {len(row.records)}"


def _check_line(check: Check, records: Sequence[Record]) -> str:
    failing = sorted(
        f"{record.quantizer['name']} seed {record.seed}"
        for record in records
        if (record.run, record.attempt) in check.failed
    )
    verdict = f"**fails: {', '.join(failing)}**" if failing else "holds"
    return f"| {check.name} | {check.meaning} | {verdict} |"
