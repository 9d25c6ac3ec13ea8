"""The page of a study: its points, and each claim of a paper beside what was measured.

A page is a pure function of the records; it needs no torch. Runs that differ in more than the rate
and what the study itself changes (another recipe, budget or device) get their own section.

A collapsed run was trained and judged like any other, so its values count for the claims: some
studies ask which settings collapse. A leaderboard gives such a row no rank. A run that fails a
fairness check is shown but not used.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench.conf.studies import Point, Study
from bench.record import Record, canonical_sha256, grouped
from bench.report.claims import Judgement, Runs, judge
from bench.report.comparison import SEEDS_TO_CLAIM, SIGNIFICANCE
from bench.report.footnotes import floor_line, ledger_line
from bench.report.ledger import Check, check_records, failed_checks
from bench.report.markdown import markdown_table
from bench.report.metric import extra_metrics, metric_of, rank_metric
from bench.report.ranking import find_floor
from bench.report.rows import last_attempts, status_of
from bench.report.table import table_title

_OF_A_FRAME = ("multipliers", "encoder_depths", "decoder_depths")  # what down-sampling changes


def page(study: Study, records: Sequence[Record]) -> str | None:
    """Markdown of a study; None where fewer than half of its points have runs."""
    sections = [
        _section(study, example, attempts)
        for example, attempts in _sections(study, records)
        if 2 * len(attempts) >= len(study.points)
    ]
    if not sections:
        return None
    head = (
        f"# {study.title}\n\nPaper: {study.paper}.\n\n"
        f"    python -m bench.run study={study.name}\n\n"
        f"`bench/conf/study/{study.name}.yaml` says what it asks and what it leaves out."
    )
    return "\n\n".join([head, *sections]) + "\n"


def _sections(study: Study, records: Sequence[Record]) -> list[tuple[Record, Runs]]:
    """One record of each family of protocols, and all attempts of each point in it, by seed."""
    frames_differ = any(point.downsampling is not None for point in study.points)
    families: dict[str, tuple[Record, dict[str, list[Record]]]] = {}
    for record in sorted(records, key=lambda record: (record.seed, record.run, record.attempt)):
        for point in study.points:
            if point.owns(record):
                _, attempts = families.setdefault(_family(record, frames_differ), (record, {}))
                attempts.setdefault(point.name, []).append(record)
    return [families[key] for key in sorted(families)]


def _family(record: Record, frames_differ: bool) -> str:
    """Identity of what all points of a section share; their frame, unless the study varies it."""
    free = {"rate", "sha256"} | ({"downsampling"} if frames_differ else set())
    protocol = {key: value for key, value in record.protocol.items() if key not in free}
    if frames_differ:
        frame = protocol["recipe"].get("frame", {})
        kept = {key: value for key, value in frame.items() if key not in _OF_A_FRAME}
        protocol["recipe"] = protocol["recipe"] | {"frame": kept}
    return canonical_sha256(protocol)


def _section(study: Study, example: Record, attempts: Runs) -> str:
    protocol = example.protocol
    checks = _checks(attempts)
    runs = {name: last_attempts(group) for name, group in attempts.items()}
    unfair = {name: failed_checks(checks, group) for name, group in runs.items()}
    fair = {name: group for name, group in runs.items() if not unfair[name]}
    floor = find_floor(sorted((n, g) for n, g in fair.items() if status_of(g) == "ok"))
    rank_by = rank_metric(protocol)
    judgements = [judge(claim, fair, rank_by=rank_by, floor=floor) for claim in study.claims]
    points = [point for point in study.points if point.name in runs]
    judged = next((r for group in runs.values() for r in group if r.per_image), example)
    parts = [
        f"## {table_title(protocol, without=['rate'])}",
        _score(judgements),
        markdown_table([judgement.cells() for judgement in judgements]),
        markdown_table([_cells(p, runs[p.name], unfair[p.name], protocol) for p in points]),
        "\n".join([*_missing(study, runs), *_reading_lines(protocol)]),
        floor_line(floor, judged),
        *_ends(points, runs),
        ledger_line(checks),
    ]
    return "\n\n".join(parts)


def _checks(attempts: Runs) -> list[Check]:
    """The fairness checks over all records of each frame: another frame has other weights."""
    records = [record for group in attempts.values() for record in group]
    by_frame = grouped(records, lambda record: record.protocol["downsampling"])
    checks = [check_records(by_frame[factor]) for factor in sorted(by_frame)]
    return [
        Check(same[0].name, same[0].meaning, frozenset().union(*(check.failed for check in same)))
        for same in zip(*checks, strict=True)
    ]


def _score(judgements: Sequence[Judgement]) -> str:
    """How many claims hold, in one line."""
    kinds = ("holds", "does not hold", "not resolved")
    holds, fails, open_ = (sum(j.verdict.startswith(k) for j in judgements) for k in kinds)
    return f"Claims: {holds} of {len(judgements)} hold, {fails} do not, {open_} not resolved."


def _cells(
    point: Point, group: Sequence[Record], unfair: Sequence[str], protocol: Mapping[str, Any]
) -> dict[str, str]:
    """One row of the table of points; the keys are the column heads."""
    rate = next((record.rate for record in group if record.rate), {})
    measured = [r.rate for r in group if r.rate.get("measured_bits_per_position") is not None]
    joint = [rate.get("joint_bits_per_position") for rate in measured]
    keys = ["psnr_db", "ssim", protocol["extractor"]["metric"]]
    metrics = [metric_of(protocol, key) for key in (*keys, "usage", "perplexity")]
    metrics[3:3] = extra_metrics(protocol)
    return {
        "point": point.name,
        "bits/position": _number(rate.get("bits_per_position"), 2),
        "measured bits": _mean([r.rate.get("measured_bits_per_position") for r in group]),
        "joint bits": "-" if None in joint else _mean(joint),
        "bits/pixel": _number(rate.get("bits_per_pixel"), 4),
        **{m.title: _mean([r.metrics.get(m.name) for r in group], m.factor) for m in metrics},
        "seeds": ", ".join(str(record.seed) for record in group),
        "status": f"unfair: {', '.join(unfair)}" if unfair else status_of(group),
    }


def _missing(study: Study, runs: Runs) -> list[str]:
    names = [point.name for point in study.points if point.name not in runs]
    return [f"Not run: {'; '.join(names)}."] if names else []


def _reading_lines(protocol: Mapping[str, Any]) -> list[str]:
    return [
        "± is the standard deviation over seeds. Measured bits are the entropy of each codebook's "
        "indices, joint bits that of all together where every seed can count it. A difference is "
        "that of two points which follow each other in a claim, the better one first, with its "
        "95 % interval over the seeds and images that both share (over seeds alone for usage and "
        "perplexity). A claim holds where each difference is as claimed, with a Holm-corrected p "
        f"below {SIGNIFICANCE}, and outside the noise floor; it does not hold where one is the "
        "other way by the same rule; otherwise it is not resolved. A verdict from fewer than "
        f"{SEEDS_TO_CLAIM} seeds names them and is provisional.",
        f"`{protocol['extractor']['metric']}`: {protocol['extractor']['label']}. Protocol "
        f"{protocol['version']}, {protocol['steps']} steps of {protocol['recipe']['batch_size']} "
        f"images of {protocol['recipe']['image_size']} px.",
    ]


def _ends(points: Sequence[Point], runs: Runs) -> list[str]:
    """Runs that did not end well, with their reasons, and what is made of them."""
    ends = [
        f"- {point.name}, seed {record.seed}: {record.status}: {record.reason.replace('|', '/')}"
        for point in points
        for record in runs[point.name]
        if record.status != "ok"
    ]
    collapsed = any(r.status == "collapsed" for group in runs.values() for r in group)
    kept = (
        "A collapsed run was trained and judged like the others. It has no rank in a leaderboard; "
        "its values count here, since which settings collapse is part of the question."
    )
    return ["\n".join([*([kept, ""] if collapsed else []), *ends])] if ends else []


def _mean(values: Sequence[Any], factor: float = 1.0) -> str:
    numbers = [factor * float(value) for value in values if value is not None]
    if not numbers:
        return "-"
    mean = statistics.fmean(numbers)
    spread = f" ± {statistics.stdev(numbers):.2g}" if len(numbers) > 1 else ""
    return f"{mean:.4g}{spread}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
