"""Curves over budgets, made from hand-made records."""

from xml.etree import ElementTree

import numpy as np
import pytest
from records import protocol, record

from bench.leaderboard import build
from bench.record import write_record
from bench.report.budgets import pages
from bench.report.crossings import crossings
from bench.report.curves import TRACKS, Curve, curves_of

BUDGETS = {"S": 400, "M": 1200}


def run_of(name, budget, psnr, seed, ms=100.0):
    noise = np.random.default_rng([seed, BUDGETS[budget]]).normal(0, 0.05, 40)
    images = (psnr + 0.02 * seed + noise - noise.mean()).tolist()
    data = {"name": "photos", "fingerprint": "f", "description": "p", "test_images": 40}
    steps = BUDGETS[budget]
    base = record(name, seed)
    return record(
        name,
        seed,
        protocol=protocol(budget=budget, steps=steps, data=data),
        metrics=base.metrics | {"psnr_db": float(np.mean(images))},
        per_image={"psnr_db": images},
        timing={"ms_per_step": ms, "train_seconds": 1e9},
        budget=base.budget | {"steps": steps, "train_step_flops": 10**9},
    )


def family(seeds=(0, 1, 2), **methods):
    return [
        run_of(name, budget, psnr, seed, *more)
        for name, (values, *more) in methods.items()
        for budget, psnr in zip(BUDGETS, values, strict=True)
        for seed in seeds
    ]


def written(records):
    return pages(records)["budgets.md"]


def drawing(records):
    return pages(records)["budgets.svg"]


def test_a_crossing_is_named_where_the_lines_meet():
    (line,) = crossings(curves_of(family(vq=([20, 26],), fsq=([22, 24],))), "steps")
    assert line == (
        "fsq (codebook_size=1024) leads at 400 steps, vq (codebook_size=1024) at 1200 steps: "
        "they cross near 693 steps."
    )


def test_a_crossing_in_time_lies_where_both_lines_meet():
    """fsq has 22 + 2 ln(t / 40) / ln 3 after t seconds, vq 20 + 6 ln(t / 44) / ln 3."""
    found = curves_of(family(vq=([20, 26], 110.0), fsq=([22, 24], 100.0)))
    seconds = np.exp((2 * np.log(3) + 6 * np.log(44) - 2 * np.log(40)) / 4)
    (line,) = crossings(found, "wall-clock")
    assert line == (
        "fsq (codebook_size=1024) leads at 44.0 s of training, vq (codebook_size=1024) at 120.0 s "
        f"of training: they cross near {seconds:.1f} s of training."
    )


def test_who_is_slow_may_overtake_in_steps_and_never_in_time():
    found = curves_of(family(vq=([20, 26], 200.0), fsq=([22, 24], 100.0)))
    assert len(crossings(found, "steps")) == len(crossings(found, "FLOPs")) == 1
    assert crossings(found, "wall-clock") == []


def test_an_equal_place_at_one_budget_hides_no_crossing(monkeypatch):
    monkeypatch.setitem(BUDGETS, "L", 4000)
    (line,) = crossings(curves_of(family(vq=([20, 24, 26],), fsq=([22, 24, 24],))), "steps")
    assert "leads at 400 steps" in line
    assert "at 4000 steps" in line


def test_between_budgets_each_seed_is_read_on_its_own_line():
    (curve,) = curves_of(family(vq=([20, 24],)))
    series = curve.series_at("steps", 700.0)
    assert set(series) == {0, 1, 2}
    assert np.mean([one[0] for one in series.values()]) == pytest.approx(curve.at("steps", 700.0))
    share = np.log(700 / 400) / np.log(3)
    assert series[2][0] == pytest.approx(20.04 + 4 * share)


def test_methods_that_never_spend_the_same_are_named():
    text = written(family(slow=([20, 22], 400.0), fast=([20, 22], 100.0)))
    line = "fast (codebook_size=1024) and slow (codebook_size=1024) never spend the same."
    assert f"- wall-clock: {line}" in text
    assert f"- steps: {line}" not in text


def test_a_crossing_of_single_seeds_is_not_resolved():
    (line,) = crossings(curves_of(family(vq=([20, 26],), fsq=([22, 24],), seeds=(0,))), "steps")
    assert line.endswith("not resolved, one of the two orders may be chance.")


def test_an_equal_order_is_no_crossing():
    records = family(vq=([20, 24],), fsq=([22, 26],))
    assert all(crossings(curves_of(records), track) == [] for track in TRACKS)
    text = written(records)
    assert all(f"- {track}: no two methods change places." in text for track in TRACKS)


def test_equal_time_is_read_between_two_budgets():
    (slow, fast) = curves_of(family(slow=([20, 22], 200.0), fast=([20, 22], 100.0)))
    slow, fast = (slow, fast) if slow.title.startswith("slow") else (fast, slow)
    assert slow.at("wall-clock", 80.0) == pytest.approx(slow.values[0])
    assert fast.at("wall-clock", 80.0) == pytest.approx(fast.values[0] + 2 * np.log(2) / np.log(3))
    assert fast.at("wall-clock", 10.0) is None


def test_the_page_gives_every_track():
    text = written(family(slow=([20, 22], 200.0), fast=([20, 22], 100.0)))
    assert "| quantizer | 400 steps | 80.0 s of training | 4e+11 FLOPs |" in text


def test_a_time_that_is_unknown_is_said_to_be():
    records = family(slow=([20, 22], 200.0), fast=([20, 22], 100.0))
    for run in records[:3]:  # budget S of one method
        run.timing["processor_share"] = 0.5
    text = written(records)
    assert "- wall-clock: unknown for slow (codebook_size=1024), since the machine" in text
    assert "| fast (codebook_size=1024) | 20.02 | 20.02 | 20.02 |" in text
    assert "| slow (codebook_size=1024) | 20.02 | - | 20.02 |" in text
    assert "nan" not in drawing(records)
    for run in records:
        run.timing["ms_per_step"] = None
        del run.budget["train_step_flops"]
    text = written(records)
    assert text.count("unknown for fast (codebook_size=1024), slow (codebook_size=1024)") == 2
    assert "s of training" not in text
    assert drawing(records).count(">unknown<") == 2


def test_time_is_that_of_the_one_machine_on_which_most_methods_ran_every_budget():
    records = family(slow=([20, 22], 200.0), fast=([20, 22], 100.0))
    for run in records:
        small = run.protocol["budget"] == "S"
        run.environment["threads"] = 2 if small and run.seed < 2 else 1
        run.timing["ms_per_step"] *= 1 if small and run.seed < 2 else 2
    text = written(records)
    assert "| quantizer | 400 steps | 160.0 s of training | 4e+11 FLOPs |" in text
    assert "of undisturbed runs on cpu x, 1 thread." in text


def test_a_machine_that_timed_one_method_is_no_reason_to_leave_out_two():
    records = family(a=([20, 22],), b=([20, 22],), c=([20, 22],))
    for run in records:
        run.environment["threads"] = 1 if run.quantizer["name"] == "a" else 2
    text = written(records)
    assert "- wall-clock: unknown for a (codebook_size=1024), since" in text
    assert "of undisturbed runs on cpu x, 2 threads." in text


def test_the_picture_has_a_line_a_method_and_track_and_is_always_the_same():
    records = family(vq=([20, 24],), fsq=([22, 26],))
    picture = drawing(records)
    assert picture == drawing(records[::-1])
    tree = ElementTree.fromstring(picture)
    kinds = [part.tag.partition("}")[2] for part in tree.iter()]
    assert kinds.count("polyline") == len(TRACKS) * 2
    assert kinds.count("circle") == len(TRACKS) * 4
    assert "vq (codebook_size=1024)" in picture
    assert "![PSNR dB over steps, time and FLOPs](budgets.svg)" in written(records)


def test_page_and_picture_are_built_beside_the_tables_and_go_with_their_records(tmp_path):
    for run in family(vq=([20, 24],), fsq=([22, 26],)):
        write_record(tmp_path / "records", run)
    build(tmp_path)
    assert (tmp_path / "budgets.md").exists()
    assert (tmp_path / "budgets.svg").exists()
    assert build(tmp_path, check=True) == ([], [])
    (tmp_path / "other.svg").write_text("<svg/>")
    for path in (tmp_path / "records").glob("*-M-*"):
        path.unlink()
    build(tmp_path)
    assert not list(tmp_path.glob("budgets.*"))
    assert (tmp_path / "other.svg").exists()


def test_the_page_says_which_times_are_of_fresh_processes():
    old = family(vq=([20, 24],), fsq=([22, 26],))
    assert "0 of 12 timed runs had a process of their own" in written(old)
    for run in old[:5]:
        run.timing["fresh_process"] = True
    assert "5 of 12 timed runs had a process of their own" in written(old)
    for run in old:
        run.timing["fresh_process"] = True
    assert "Every timed run had a process of its own." in written(old)


def test_one_budget_is_no_page():
    assert pages([run_of("vq", "S", 20, 0)]) == {}


def test_a_method_with_one_budget_has_no_curve():
    records = [*family(vq=([20, 24],)), run_of("fsq", "S", 22, 0)]
    (curve,) = curves_of(records)
    assert isinstance(curve, Curve)
    assert curve.title.startswith("vq")
