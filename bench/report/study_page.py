"""The page of a study: its points, and each claim of a paper beside what was measured.

A page is a pure function of the records; it needs no torch. Runs that differ in more than the rate
and what the study itself changes (another recipe, budget or device) get sections of their own.
"""

import statistics
from collections.abc import Sequence
from typing import Any

from bench.record import Record, canonical_sha256
from bench.report.comparison import (
    SEEDS_TO_RANK,
    SIGNIFICANCE,
    comparable_metrics,
    cost,
    difference,
)
from bench.statistics import Difference, holm
from bench.statistics.over_seeds import seed_difference
from bench.study import Claim, Point, Study

_OF_A_FRAME = ("multipliers", "encoder_depths", "decoder_depths")  # what down-sampling changes

Runs = dict[str, list[Record]]  # by the point's name, one record a seed


def page(study: Study, records: Sequence[Record]) -> str | None:
    """Markdown of a study; None where fewer than half of its points have runs."""
    sections = [
        _section(study, group, runs)
        for group, runs in _sections(study, records)
        if 2 * len(runs) >= len(study.points)
    ]
    if not sections:
        return None
    head = f"# {study.title}\n\nPaper: {study.paper}.\n\n    python -m bench.run study={study.name}"
    return "\n\n".join([head, *sections]) + "\n"


def _sections(study: Study, records: Sequence[Record]) -> list[tuple[Record, Runs]]:
    """One record of each family of protocols, and the runs of each point in it."""
    frames_differ = any(point.downsampling is not None for point in study.points)
    families: dict[str, tuple[Record, Runs]] = {}
    for record in sorted(records, key=lambda record: (record.run, record.attempt)):
        for point in study.points:
            if point.owns(record):
                _, runs = families.setdefault(_family(record, frames_differ), (record, {}))
                same = runs.setdefault(point.name, [])
                same[:] = [other for other in same if other.seed != record.seed] + [record]
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


def _section(study: Study, example: Record, runs: Runs) -> str:
    protocol = example.protocol
    lines = [
        f"## {protocol['recipe']['name']} on {protocol['data']['name']}, budget "
        f"{protocol['budget']}, {protocol['device']}, {protocol['ruleset']} hyper-parameters",
        "",
        *_points_table([point for point in study.points if point.name in runs], runs, example),
        "",
        *_claims_table(study.claims, runs),
        "",
        "± is the standard deviation over seeds. A claim holds where each point of its order is "
        f"better than the next with a Holm-corrected p below {SIGNIFICANCE}, over the seeds and "
        "images that both share (over seeds alone for usage and perplexity); it does not hold "
        "where one is worse by the same rule; otherwise it is not resolved.",
        f"`{protocol['extractor']['metric']}`: {protocol['extractor']['label']}. Protocol "
        f"{protocol['version']}, {protocol['steps']} steps of {protocol['recipe']['batch_size']} "
        f"images of {protocol['recipe']['image_size']} px.",
    ]
    return "\n".join(lines)


def _points_table(points: Sequence[Point], runs: Runs, example: Record) -> list[str]:
    metrics = ["psnr_db", "ssim", example.protocol["extractor"]["metric"], "usage", "perplexity"]
    lines = [
        f"| point | bits/position | bits/pixel | {' | '.join(metrics)} | seeds | status |",
        f"|:--|--:|--:|{'--:|' * len(metrics)}:--|:--|",
    ]
    for point in points:
        group = sorted(runs[point.name], key=lambda record: record.seed)
        rate = next((record.rate for record in group if record.rate), {})
        cells = [
            point.name,
            f"{rate['bits_per_position']:.2f}" if rate.get("bits_per_position") else "-",
            f"{rate['bits_per_pixel']:.4f}" if rate.get("bits_per_pixel") else "-",
            *(_mean([record.metrics.get(metric) for record in group]) for metric in metrics),
            ", ".join(str(record.seed) for record in group),
            ", ".join(sorted({record.status for record in group})),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _claims_table(claims: Sequence[Claim], runs: Runs) -> list[str]:
    lines = ["| claim | paper | measured | verdict |", "|:--|:--|:--|:--|"]
    for claim in claims:
        pairs = list(zip(claim.order, claim.order[1:], strict=False))
        found = [_compare(runs.get(a, []), runs.get(b, []), claim.metric) for a, b in pairs]
        measured = "; ".join(_interval(difference) for difference in found)
        lines.append(
            f"| {claim.text} | {claim.paper} | {claim.metric}: {measured} | "
            f"{verdict(found, claim.metric)} |"
        )
    return lines


def verdict(found: Sequence[Difference | None], metric: str) -> str:
    """Whether every difference of an order of points goes the claimed way."""
    known = [difference for difference in found if difference]
    if len(known) < len(found):
        return "not resolved: runs are missing or failed"
    if min((d.seeds for d in known), default=0) < SEEDS_TO_RANK:
        return f"not resolved: fewer than {SEEDS_TO_RANK} shared seeds"
    corrected = holm([difference.p for difference in known])
    clear = [p < SIGNIFICANCE for p in corrected]
    as_claimed = [cost(difference.value, metric) < 0 for difference in known]
    if any(c and not a for c, a in zip(clear, as_claimed, strict=True)):
        return "does not hold"
    return "holds" if all(clear) else "not resolved at this budget"


def _compare(better: list[Record], worse: list[Record], metric: str) -> Difference | None:
    if not better or not worse:
        return None
    if metric in comparable_metrics(better[0]):
        return difference(better, worse, metric)
    ours = {record.seed: record.metrics.get(metric) for record in better}
    theirs = {record.seed: record.metrics.get(metric) for record in worse}
    shared = sorted(ours.keys() & theirs.keys())
    values = [(ours[seed], theirs[seed]) for seed in shared]
    known = [(float(a), float(b)) for a, b in values if a is not None and b is not None]
    if not known or len(known) < len(values):
        return None
    return seed_difference([a for a, _ in known], [b for _, b in known])


def _interval(difference: Difference | None) -> str:
    if difference is None:
        return "no shared values"
    if difference.seeds < 2:
        return f"{difference.value:+.3g} (one seed)"
    return f"{difference.value:+.3g} [{difference.low:+.3g}, {difference.high:+.3g}]"


def _mean(values: Sequence[Any]) -> str:
    numbers = [float(value) for value in values if value is not None]
    if not numbers:
        return "-"
    mean = statistics.fmean(numbers)
    spread = f" ± {statistics.stdev(numbers):.2g}" if len(numbers) > 1 else ""
    return f"{mean:.4g}{spread}"
