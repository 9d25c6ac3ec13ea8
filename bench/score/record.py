"""What `bench.score` writes: a table in Markdown and a record in JSON, with their provenance."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from bench.evaluate import Evaluation
from bench.markdown import markdown_table
from bench.provenance import code_sha256, environment, evaluation_code_sha256, git_state
from bench.score.judge import Judge


def provenance(judge: Judge, **facts: Any) -> dict[str, Any]:
    """What was judged, by which code and where; `identity` hashes all of it but the machine.

    Args:
        judge: what judged.
        facts: reference, reconstruction, their hashes, images and command.
    """
    others = {metric.extractor.identity for metric in judge.requested if metric.extractor}
    facts |= {
        "extractor": judge.extractor.identity,
        "extractors": sorted(others - {judge.extractor.identity}),
        "perceptual": judge.perceptual.identity if judge.perceptual else "none",
        "requested": [metric.name for metric in judge.requested],
        "evaluation_code_sha256": evaluation_code_sha256(),
        "score_code_sha256": code_sha256("bench.score.judge"),
    }
    identity = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    machine = environment(judge.device)
    return {"identity": identity, **facts, "environment": machine, "git": git_state()}


def format_table(evaluation: Evaluation, facts: Mapping[str, Any]) -> str:
    """The scores in Markdown, with what was judged."""
    codebooks = evaluation.codebooks
    values = evaluation.metrics | {
        "usage": codebooks.mean_usage,
        "usage ceiling": codebooks.mean_usage_ceiling,
        "perplexity": codebooks.perplexity,
        "bits per position, Miller-Madow": codebooks.miller_madow_entropy_bits,
        "joint bits per position": codebooks.joint_entropy_bits,
    }
    rows = [
        {"metric": name, "value": f"{value:.6g}"}
        for name, value in values.items()
        if value is not None
    ]
    others = "".join(f", `{identity}`" for identity in facts["extractors"])
    lines = [f"# {facts['reconstruction']}", "", markdown_table(rows), ""]
    lines += [
        f"- {facts['images']} images, originals in {facts['reference']}",
        f"- extractor `{facts['extractor']}`{others}, perceptual metric `{facts['perceptual']}`",
        f"- judge's code SHA-256 `{facts['evaluation_code_sha256'][:16]}`",
        f"- `{facts['command']}`",
        "",
    ]
    return "\n".join(lines)


def format_record(evaluation: Evaluation, facts: Mapping[str, Any]) -> str:
    """The scores with the values of every image, as JSON."""
    sizes = "codebook_size", "tokens", "used_codes", "usage_ceiling"
    bits = "entropy_bits", "miller_madow_entropy_bits"
    codebooks = [
        {name: getattr(use, name) for name in (*sizes, *bits)}
        for use in evaluation.codebooks.codebooks
    ]
    record = {
        **facts,
        "metrics": evaluation.metrics,
        "per_image": evaluation.per_image,
        "leave_group_out": evaluation.leave_group_out,
        "codebooks": codebooks,
    }
    return json.dumps(_finite(record), indent=1) + "\n"


def _finite(value: Any) -> Any:
    """JSON has no infinity: it becomes null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
