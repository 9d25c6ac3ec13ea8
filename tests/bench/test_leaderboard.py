import re
import subprocess
import sys

import pytest
from records import cells, protocol, record, seeds

from bench.leaderboard import render
from bench.report.table import Table


def only_table(records) -> str:
    (text,) = (text for name, text in render(records).items() if name != "README.md")
    return text


def order(records) -> list[tuple[str, int | None]]:
    return [(row.name, row.rank) for row in Table.of(records).rows]


THREE = (24.0, 24.1, 23.9)


def better(*, by: float, values=THREE) -> tuple[float, ...]:
    """Other values over the same seeds, with a spread of their own."""
    return tuple(value + by + 0.01 * place for place, value in enumerate(values))


def test_higher_psnr_ranks_first_and_lower_rfid_too():
    assert order(seeds("a", *THREE) + seeds("b", *better(by=1.0))) == [("b", 1), ("a", 2)]
    extractor = protocol()["extractor"] | {"metric": "rfid", "kernel_metric": "kid"}
    shared = protocol(extractor=extractor)
    records = seeds("a", *THREE, protocol=shared) + seeds("b", *better(by=1.0), protocol=shared)
    for one in records:
        one.metrics["rfid"] = 1.0 if one.quantizer["name"] == "a" else 2.0 + 0.01 * one.seed
        one.leave_group_out["rfid"] = [one.metrics["rfid"]] * 20
    assert order(records) == [("a", 1), ("b", 2)]


def test_fewer_than_three_seeds_have_no_rank_and_the_table_says_so():
    records = seeds("a", *THREE) + seeds("b", 25.0, 25.1)
    assert order(records) == [("a", 1), ("b", None)]
    text = only_table(records)
    assert "These rows have fewer: b (codebook_size=1024): 2." in text
    assert "A claim of better or worse needs 5 seeds." in text
    assert "a (codebook_size=1024): 3." in text


def test_a_row_with_a_bad_seed_has_no_rank():
    collapsed = [record("b", 0, 30.0), record("b", 1, 30.0, status="collapsed")]
    records = seeds("a", *THREE) + collapsed
    assert [(row.name, row.rank, row.status) for row in Table.of(records).rows] == [
        ("a", 1, "ok"),
        ("b", None, "1 ok, 1 collapsed"),
    ]


def test_seeds_that_no_other_row_has_earn_no_rank():
    foreign = [record("c", 100 + seed, 99.0) for seed in range(3)]
    records = seeds("a", *THREE) + seeds("b", *better(by=1.0)) + foreign
    assert order(records) == [("b", 1), ("a", 2), ("c", None)]


def test_the_last_attempt_of_a_seed_counts():
    first = record(status="error", metrics={}, reason="disk full")
    (row,) = Table.of([record(attempt=2), first]).rows
    assert (row.status, row.attempts) == ("ok", 2)


def test_an_option_that_older_records_lack_makes_no_other_row():
    newer = dict(record().quantizer, hyperparameters={"codebook_size": 1024, "new": "default"})
    (row,) = Table.of([record(), record(seed=1, quantizer=newer)]).rows
    assert [one.seed for one in row.records] == [0, 1]


def test_other_hyperparameters_make_another_row():
    other = dict(record().quantizer, operating_point="codebook_size=4")
    assert len(Table.of([record(), record(quantizer=other)]).rows) == 2


def test_mean_and_spread_are_over_seeds():
    (row,) = Table.of(seeds("a", 1.0, 2.0, 6.0)).rows
    assert row.metrics["psnr_db"].value == 3.0
    assert row.metrics["psnr_db"].spread == pytest.approx(7**0.5)


def test_same_records_same_bytes_in_any_order():
    records = seeds("a", *THREE) + seeds("b", *better(by=1.0)) + seeds("c", 20.0)
    assert render(records) == render(records[::-1])


def test_tables_are_listed_by_their_rate():
    records = [record(protocol=protocol(rate=rate)) for rate in (96.0, 8.0, 24.0, 10.0)]
    rates = [re.search(r"-(\d+)bit", name).group(1) for name in list(render(records))[1:]]
    assert rates == ["8", "10", "24", "96"]


def test_protocols_never_share_a_table():
    records = [record(), record("vq", protocol=protocol(steps=900))]
    assert len(render(records)) == 3  # two tables and the index


def test_controls_stand_apart_and_failures_keep_their_reason():
    control = dict(record("none").quantizer, control="upper bound")
    records = [
        record("none", psnr=40.0, quantizer=control, rate={"bits_per_position": None}),
        record("vq", status="diverged", reason="loss | not finite", metrics={}, timing={}),
        record("gsq"),
    ]
    text = only_table(records)
    contenders, controls = text.split("Controls, not ranked")
    assert "| none" in controls
    assert "| none" not in contenders
    assert "∞" in controls
    assert "seed 0: diverged: loss / not finite" in text


def test_runs_that_resumed_at_their_last_step_or_shared_the_machine_have_no_time():
    quiet = {"ms_per_step": 100.0, "processor_share": 0.98}
    disturbed = {"ms_per_step": 250.0, "processor_share": 0.5}
    assert cells(only_table([record(timing={"ms_per_step": None})]), "gsq")[-4] == "-"
    records = [record(timing=quiet), record(seed=1, timing=disturbed), record("vq", timing=quiet)]
    text = only_table(records)
    assert cells(text, "gsq")[-4] == "100"
    assert "1 of 3 got less than 90%" in text


def test_times_of_different_threads_are_not_mixed():
    records = [
        record(seed=seed, timing={"ms_per_step": ms}, environment={"device": "x", "threads": n})
        for seed, ms, n in ((0, 100.0, 2), (1, 110.0, 2), (2, 200.0, 1))
    ]
    text = only_table(records)
    assert cells(text, "gsq")[-4] == "105"
    assert "(x, 1 thread; x, 2 threads)" in text


def test_an_unfair_row_has_no_rank_and_names_the_check():
    records = seeds("a", *THREE) + seeds("b", *better(by=1.0)) + seeds("c", *better(by=2.0))
    records[-1].hashes["batches"] = "others"
    assert order(records) == [("b", 1), ("a", 2), ("c", None)]
    text = only_table(records)
    assert "unfair: batch order" in text
    assert "fair: 13/14 checks; fails: batch order" in text
    assert "**fails: c seed 2**" in text


def test_a_fair_table_says_so_and_lists_every_check():
    text = only_table(seeds("a", *THREE))
    assert "<summary>fair: 14/14 checks</summary>" in text
    assert text.count("| holds |") == 14


def test_five_seeds_give_a_noise_floor_within_which_rows_tie():
    wide = (24.0, 25.0, 23.0, 24.5, 23.5)
    records = seeds("a", *wide) + seeds("b", *better(by=0.5, values=wide))
    assert order(records) == [("b", 1), ("a", 1)]
    text = only_table(records)
    assert "Noise floor, from 5 seeds of a (codebook_size=1024)" in text
    assert "tie |" in text
    assert order([r for r in records if r.seed < 3]) == [("b", 1), ("a", 2)]


def test_the_difference_to_the_best_row_is_shown_with_its_interval():
    records = seeds("a", *THREE) + seeds("b", *better(by=1.0))
    text = only_table(records)
    assert "Δ PSNR dB [95 %]" in text
    assert "-1.01 [" in text
    assert "| best" in text


def test_one_command_reproduces_rows_that_differ_in_quantizer_and_seed():
    text = "".join(render(seeds("a", 1.0, 2.0) + seeds("b", 3.0)).values())
    assert "    python -m bench.run quantizer=a,b seed=0,1\n" in text


def test_tables_and_comparisons_are_made_without_torch():
    code = "import sys, bench.leaderboard, bench.compare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
