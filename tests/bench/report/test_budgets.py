"""Curves over budgets, made from hand-made records."""

import numpy as np
import pytest
from records import protocol, record

from bench.report.budgets import Curve, crossings, curves, page

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
        run=f"{name}-{budget}-{seed}",
        protocol=protocol(budget=budget, steps=steps, data=data),
        metrics=base.metrics | {"psnr_db": float(np.mean(images))},
        per_image={"psnr_db": images},
        timing={"ms_per_step": ms, "train_seconds": 1e9},
        budget=base.budget | {"steps": steps, "train_step_flops": 1e9},
    )


def family(seeds=(0, 1, 2), **methods):
    return [
        run_of(name, budget, psnr, seed, *more)
        for name, (values, *more) in methods.items()
        for budget, psnr in zip(BUDGETS, values, strict=True)
        for seed in seeds
    ]


def test_a_crossing_is_named_where_the_lines_meet():
    (line,) = crossings(curves(family(vq=([20, 26],), fsq=([22, 24],))))
    assert line == (
        "- fsq (codebook_size=1024) leads at 400 steps, vq (codebook_size=1024) at 1200: "
        "they cross near 693 steps."
    )


def test_a_crossing_of_single_seeds_is_not_resolved():
    (line,) = crossings(curves(family(vq=([20, 26],), fsq=([22, 24],), seeds=(0,))))
    assert line.endswith("not resolved, one of the two orders may be chance.")


def test_an_equal_order_is_no_crossing():
    records = family(vq=([20, 24],), fsq=([22, 26],))
    assert crossings(curves(records)) == []
    assert "No two methods change places" in page(records)


def test_equal_time_is_read_between_two_budgets():
    (slow, fast) = curves(family(slow=([20, 22], 200.0), fast=([20, 22], 100.0)))
    slow, fast = (slow, fast) if slow.title.startswith("slow") else (fast, slow)
    assert slow.at("wall-clock", 80.0) == pytest.approx(slow.values[0])
    assert fast.at("wall-clock", 80.0) == pytest.approx(fast.values[0] + 2 * np.log(2) / np.log(3))
    assert fast.at("wall-clock", 10.0) is None


def test_the_page_gives_every_track():
    text = page(family(slow=([20, 22], 200.0), fast=([20, 22], 100.0)))
    assert "| quantizer | 400 steps | 80.0 s of training | 4e+11 FLOPs |" in text


def test_time_is_not_compared_between_machines():
    records = family(slow=([20, 22], 200.0), fast=([20, 22], 100.0))
    records[0].environment["device"] = "cpu y"
    text = page(records)
    assert "| quantizer | 400 steps | 4e+11 FLOPs |" in text
    assert "No time is compared between machines: cpu x; cpu y." in text
    assert "s of training" not in text


def test_the_page_says_which_times_are_of_fresh_processes():
    old = family(vq=([20, 24],), fsq=([22, 26],))
    assert "0 of 12 timed runs had a process of their own" in page(old)
    for run in old[:5]:
        run.timing["fresh_process"] = True
    assert "5 of 12 timed runs had a process of their own" in page(old)
    for run in old:
        run.timing["fresh_process"] = True
    assert "Every timed run had a process of its own." in page(old)


def test_one_budget_is_no_page():
    assert page([run_of("vq", "S", 20, 0)]) is None


def test_a_method_with_one_budget_has_no_curve():
    records = [*family(vq=([20, 24],)), run_of("fsq", "S", 22, 0)]
    (curve,) = curves(records)
    assert isinstance(curve, Curve)
    assert curve.title.startswith("vq")
