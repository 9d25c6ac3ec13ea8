"""The page of a study, made from hand-made records."""

import math
from dataclasses import replace

import pytest
from records import protocol, record
from study_records import run_of, runs_of

from bench.conf import studies as study
from bench.report.claims import verdict
from bench.report.metric import described
from bench.report.ranking import Floor
from bench.report.study_page import page
from bench.statistics import Difference


def rows_of(text, head):
    """The table whose first column is called so, as a list of cells for each row."""
    _, _, rest = text.partition(f"| {head} ")
    table, _, _ = rest.partition("\n\n")
    names, _, *lines = (
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()
    )
    return [head, *names[1:]], lines


def claims_of(text):
    return rows_of(text, "claim")[1]


def points_of(text):
    heads, lines = rows_of(text, "point")
    return {line[0]: dict(zip(heads, line, strict=True)) for line in lines}


def test_the_page_judges_claims_by_their_intervals():
    chosen = study.load("gsq_groups")
    text = page(chosen, runs_of(chosen, {"1x16": 20, "2x8": 22, "4x4": 24, "8x2": 26, "16x1": 27}))
    first, second = claims_of(text)
    assert first[-1] == "holds (3 seeds)"
    assert first[3].startswith("8x2 minus 4x4: +2 [+2, +2]; 4x4 minus 2x8: +2 [")
    assert second[-1] == "does not hold (3 seeds)"
    assert second[2:4] == ["PSNR dB", "-1 [-1, -1]"]
    assert "Claims: 1 of 2 hold, 1 do not, 0 not resolved." in text
    assert points_of(text)["8x2"]["bits/pixel"] == "3.0000"
    assert text.rstrip().endswith("fair: 14/14 checks")


def test_five_seeds_make_a_verdict_final_and_give_a_floor():
    chosen = study.load("gsq_groups")
    values = {"1x16": 20, "2x8": 22, "4x4": 24, "8x2": 26, "16x1": 25}
    text = page(chosen, runs_of(chosen, values, seeds=range(5)))
    assert [claim[-1] for claim in claims_of(text)] == ["holds", "holds"]
    assert "Noise floor, from 5 seeds of 16x1:" in text
    three = page(chosen, runs_of(chosen, values))
    assert "Noise floor: unknown" in three


def test_a_collapsed_run_counts_and_the_page_says_so():
    chosen = study.load("codebook_init")
    better, worse = chosen.claims[0].order
    runs = runs_of(chosen, {better: 22}, usage=0.9)
    bad = runs_of(chosen, {worse: 18}, usage=0.002, perplexity=1.3)
    bad = [replace(r, status="collapsed", reason="perplexity 1.3 of 1024 codes") for r in bad]
    text = page(chosen, runs + bad)
    assert claims_of(text)[0][-1] == "holds (3 seeds)"
    assert points_of(text)[worse]["usage %"] == "0.2 ± 0"
    assert points_of(text)[worse]["status"] == "collapsed"
    assert f"- {worse}, seed 2: collapsed: perplexity 1.3 of 1024 codes" in text
    assert "A collapsed run was trained and judged like the others." in text
    assert "Not run: sphere codes, spherical=false; sphere codes, spherical=true." in text


def test_a_collapsed_point_gives_no_floor():
    chosen = study.load("gsq_groups")
    values = {"1x16": 20, "2x8": 22, "4x4": 24, "16x1": 25}
    runs = runs_of(chosen, values, seeds=range(5))
    bad = {"status": "collapsed", "reason": "perplexity 1.3 of 64 codes"}
    runs = [replace(r, **bad) if r.run.startswith("16x1") else r for r in runs]
    assert "Noise floor, from 5 seeds of 1x16:" in page(chosen, runs)


def test_frames_that_a_study_varies_have_weights_of_their_own():
    chosen = study.load("spatial")
    runs = runs_of(chosen, {point.name: 20 for point in chosen.points})
    for run in runs:
        run.hashes["frame_at_step_0"] += str(run.protocol["downsampling"])
    assert page(chosen, runs).rstrip().endswith("fair: 14/14 checks")
    runs[0].hashes["frame_at_step_0"] = "other"
    assert page(chosen, runs).rstrip().endswith("fair: 13/14 checks; fails: frame weights")


def test_an_unfair_run_is_shown_and_counts_for_nothing():
    chosen = study.load("gsq_groups")
    runs = runs_of(chosen, {"1x16": 20, "2x8": 22, "4x4": 24, "8x2": 26, "16x1": 25})
    place = next(i for i, run in enumerate(runs) if run.run.startswith("16x1"))
    runs[place] = replace(runs[place], hashes=runs[place].hashes | {"batches": "other"})
    text = page(chosen, runs)
    assert points_of(text)["16x1"]["status"] == "unfair: batch order"
    assert [claim[-1] for claim in claims_of(text)] == [
        "holds (3 seeds)",
        "not resolved: runs are missing, failed or unfair",
    ]
    assert text.rstrip().endswith("fair: 13/14 checks; fails: batch order")


def test_a_repeated_run_counts_by_its_last_attempt_and_is_no_retry():
    chosen = study.load("gsq_groups")
    runs = runs_of(chosen, {"1x16": 20, "2x8": 22, "4x4": 24, "8x2": 26, "16x1": 25})
    place = next(i for i, run in enumerate(runs) if run.run == "16x1-seed0")
    again = replace(runs[place], attempt=2, metrics=runs[place].metrics | {"usage": 0.9})
    text = page(chosen, [again, *runs])
    assert points_of(text)["16x1"]["seeds"] == "0, 1, 2"
    assert points_of(text)["16x1"]["usage %"] == "63.33 ± 23"
    assert text.rstrip().endswith("fair: 14/14 checks")
    failed = replace(runs[place], status="error", reason="x")
    text = page(chosen, [again, *runs[:place], failed, *runs[place + 1 :]])
    assert points_of(text)["16x1"]["status"] == "unfair: no retry"


def test_a_diverged_seed_resolves_nothing():
    chosen = study.load("gsq_groups")
    runs = runs_of(chosen, {"1x16": 20, "2x8": 22, "4x4": 24, "8x2": 26, "16x1": 25})
    failed = {"status": "diverged", "reason": "NaN", "metrics": {}, "per_image": {}}
    runs = [replace(r, **failed) if r.run == "16x1-seed1" else r for r in runs]
    text = page(chosen, runs)
    assert claims_of(text)[1][-1] == "not resolved: runs are missing, failed or unfair"
    assert points_of(text)["16x1"]["status"] == "2 ok, 1 diverged"
    assert "collapsed" not in text


def test_too_few_seeds_resolve_nothing():
    chosen = study.load("gsq_groups")
    text = page(chosen, runs_of(chosen, {"1x16": 20, "8x2": 26, "16x1": 25}, seeds=(0, 1)))
    assert text.count("not resolved: fewer than 3 shared seeds") == 1
    assert text.count("not resolved: runs are missing, failed or unfair") == 1


def test_usage_is_judged_over_seeds():
    chosen = study.load("codebook_init")
    better, worse = chosen.claims[1].order
    runs = [
        run
        for seed, usage in enumerate((0.8, 0.9, 0.85))
        for run in (
            *runs_of(chosen, {better: 20}, [seed], usage=usage),
            *runs_of(chosen, {worse: 20}, [seed], usage=0.1),
        )
    ]
    claim = claims_of(page(chosen, runs))[1]
    assert claim[2:] == ["usage %", "+75 [+62.6, +87.4]", "holds (3 seeds)"]


def test_the_same_records_give_the_same_page_in_any_order():
    chosen = study.load("gsq_groups")
    runs = runs_of(chosen, {"1x16": 20, "2x8": 22, "4x4": 23})
    assert page(chosen, runs) == page(chosen, runs[::-1])


def test_another_recipe_is_another_section():
    chosen = study.load("gsq_groups")
    runs = runs_of(chosen, {"1x16": 20, "2x8": 22, "4x4": 23})
    other = [
        record(
            run=f"{run.run}-base",
            seed=run.seed,
            quantizer=run.quantizer,
            protocol=protocol(
                **{k: v for k, v in run.protocol.items() if k not in ("sha256", "recipe")},
                recipe={"name": "base", "image_size": 128, "batch_size": 64},
            ),
        )
        for run in runs
    ]
    assert page(chosen, runs + other).count("\n## ") == 2


def test_fewer_than_half_of_the_points_are_no_page():
    chosen = study.load("gsq_groups")
    assert page(chosen, runs_of(chosen, {"1x16": 20, "2x8": 22})) is None
    assert page(chosen, runs_of(chosen, {"1x16": 20, "2x8": 22, "8x2": 23})) is not None


def differences(*values, p=0.001, seeds=3):
    return [Difference(value=v, low=v - 1, high=v + 1, p=p, seeds=seeds, images=40) for v in values]


@pytest.mark.parametrize(
    ("found", "metric", "expected"),
    [
        (differences(1.0, 2.0), "psnr_db", "holds (3 seeds)"),
        (differences(1.0, 2.0, seeds=5), "psnr_db", "holds"),
        (differences(1.0, -2.0), "psnr_db", "does not hold (3 seeds)"),
        (differences(1.0, -2.0, seeds=5), "psnr_db", "does not hold"),
        (differences(1.0, seeds=5) + differences(1.0), "psnr_db", "holds (3 seeds)"),
        (differences(1.0, 2.0), "fd_scattering_v1", "does not hold (3 seeds)"),
        (differences(-1.0), "fd_scattering_v1", "holds (3 seeds)"),
        (
            differences(0.5, p=math.nan),
            "usage",
            "not resolved: the same difference in every seed",
        ),
        (differences(1.0, p=0.2), "psnr_db", "not resolved at this budget"),
        (differences(-1.0, p=0.2), "psnr_db", "not resolved at this budget"),
        (differences(1.0, 1.0, p=0.03), "psnr_db", "not resolved at this budget"),  # Holm
    ],
)
def test_verdicts(found, metric, expected):
    assert verdict(found, described(metric)) == expected


def test_a_difference_within_the_noise_floor_resolves_nothing():
    floor = Floor("vq", {"psnr_db": (20.0, 21.0, 22.0, 23.0, 24.0)})
    assert floor.of("psnr_db", seeds=3) > 3
    assert verdict(differences(3.0), described("psnr_db"), floor) == "not resolved at this budget"
    assert floor.of("psnr_db") > 5
    assert verdict(differences(5.0), described("psnr_db"), floor) == "holds (3 seeds)"
    assert verdict(differences(0.1), described("ssim"), floor) == "holds (3 seeds)"


def test_a_frame_of_another_study_is_no_run_of_a_point():
    vocab, spatial = study.load("vocab_dim"), study.load("spatial")
    point = next(p for p in vocab.points if p.name == "V=256, D=8")
    shared = [run_of(point, seed, 20.0) for seed in range(3)]
    others = [run_of(p, 0, 20.0) for p in vocab.points[:6]]
    factors = [run_of(spatial.points[0], seed, 29.0) for seed in range(3)]
    assert spatial.points[0].downsampling == 2
    assert page(vocab, shared + others + factors) == page(vocab, shared + others)


def test_joint_bits_that_a_seed_could_not_count_are_not_averaged():
    groups = study.load("gsq_groups")
    records = runs_of(groups, {"1x16": 20.0, "2x8": 21.0, "4x4": 22.0})
    for run in records:
        run.rate["joint_bits_per_position"] = 6.0 + run.seed
    records[-1].rate["joint_bits_per_position"] = None
    head, lines = rows_of(page(groups, records), "point")
    joint = [line[head.index("joint bits")] for line in lines]
    assert sorted(joint) == ["-", "7 ± 1", "7 ± 1"]
