import re
import subprocess
import sys

import pytest
from records import protocol, record

from bench.leaderboard import build, main, render, renew_readme
from bench.record import write_record
from bench.report.table import Table


def seeds(name: str, *values: float, **changes):
    return [record(name, seed, value, **changes) for seed, value in enumerate(values)]


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


def test_rows_that_cannot_be_told_apart_share_a_rank_and_the_next_skips():
    records = seeds("a", *THREE) + seeds("b", 24.05, 23.9, 24.1) + seeds("c", *better(by=-3.0))
    assert order(records) == [("b", 1), ("a", 1), ("c", 3)]


def test_fewer_than_three_seeds_have_no_rank_and_the_table_says_so():
    records = seeds("a", *THREE) + seeds("b", 25.0, 25.1)
    assert order(records) == [("a", 1), ("b", None)]
    (text,) = (text for name, text in render(records).items() if name != "README.md")
    assert (
        "A rank needs 3 seeds that most rows have; fewer have: b (codebook_size=1024): 2." in text
    )
    assert "To be called better or worse needs 5 seeds" in text
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
    (text,) = (text for name, text in render(records).items() if name != "README.md")
    contenders, controls = text.split("Controls, not ranked")
    assert "| none" in controls
    assert "| none" not in contenders
    assert "∞" in controls
    assert "seed 0: diverged: loss / not finite" in text


def test_a_run_that_resumed_at_its_last_step_has_no_time(tmp_path):
    untimed = {"ms_per_step": None}
    (text,) = (t for n, t in render([record(timing=untimed)]).items() if n != "README.md")
    (row,) = (line for line in text.splitlines() if "| gsq" in line)
    assert row.split("|")[-4].strip() == "-"


def test_a_run_that_shared_the_machine_has_no_time():
    quiet = {"ms_per_step": 100.0, "processor_share": 0.98}
    disturbed = {"ms_per_step": 250.0, "processor_share": 0.5}
    records = [record(timing=quiet), record(seed=1, timing=disturbed), record("vq", timing=quiet)]
    (text,) = (t for n, t in render(records).items() if n != "README.md")
    row = next(line for line in text.splitlines() if "| gsq" in line)
    assert row.split("|")[-4].strip() == "100"
    assert "1 of 3 got less than 90%" in text


def test_times_of_different_threads_are_not_mixed():
    records = [
        record(seed=seed, timing={"ms_per_step": ms}, environment={"device": "x", "threads": n})
        for seed, ms, n in ((0, 100.0, 2), (1, 110.0, 2), (2, 200.0, 1))
    ]
    (text,) = (t for n, t in render(records).items() if n != "README.md")
    row = next(line for line in text.splitlines() if "| gsq" in line)
    assert row.split("|")[-4].strip() == "105"
    assert "(x, 1 thread; x, 2 threads)" in text


def test_an_unfair_row_has_no_rank_and_names_the_check():
    records = seeds("a", *THREE) + seeds("b", *better(by=1.0)) + seeds("c", *better(by=2.0))
    records[-1].hashes["batches"] = "others"
    assert order(records) == [("b", 1), ("a", 2), ("c", None)]
    (text,) = (text for name, text in render(records).items() if name != "README.md")
    assert "unfair: batch order" in text
    assert "fair: 13/14 checks; fails: batch order" in text
    assert "**fails: c seed 2**" in text


def test_a_fair_table_says_so_and_lists_every_check():
    (text,) = (t for n, t in render(seeds("a", *THREE)).items() if n != "README.md")
    assert "<summary>fair: 14/14 checks</summary>" in text
    assert text.count("| holds |") == 14


def test_five_seeds_give_a_noise_floor_within_which_rows_tie():
    wide = (24.0, 25.0, 23.0, 24.5, 23.5)
    records = seeds("a", *wide) + seeds("b", *better(by=0.5, values=wide))
    assert order(records) == [("b", 1), ("a", 1)]
    (text,) = (text for name, text in render(records).items() if name != "README.md")
    assert "Noise floor, from 5 seeds of a (codebook_size=1024)" in text
    assert "tie |" in text
    assert order([r for r in records if r.seed < 3]) == [("b", 1), ("a", 2)]


def test_the_difference_to_the_best_row_is_shown_with_its_interval():
    records = seeds("a", *THREE) + seeds("b", *better(by=1.0))
    (text,) = (text for name, text in render(records).items() if name != "README.md")
    assert "Δ PSNR dB [95 %]" in text
    assert "-1.01 [" in text
    assert "| best" in text


def test_one_command_reproduces_rows_that_differ_in_quantizer_and_seed():
    text = "".join(render(seeds("a", 1.0, 2.0) + seeds("b", 3.0)).values())
    assert "    python -m bench.run quantizer=a,b seed=0,1\n" in text


def test_a_new_row_leaves_the_others_and_stale_tables_go(tmp_path):
    records = tmp_path / "records"
    path = write_record(records, record("a"))
    build(tmp_path)
    (table,) = (p for p in tmp_path.glob("*.md") if p.name != "README.md")
    first = [line for line in table.read_text().splitlines() if "| a " in line]
    write_record(records, record("b", psnr=1.0))
    build(tmp_path)
    again = [line for line in table.read_text().splitlines() if "| a " in line]
    assert first[0].split() == again[0].split()
    for path in records.iterdir():
        path.unlink()
    (tmp_path / "notes.md").write_text("by hand")
    build(tmp_path)
    assert sorted(p.name for p in tmp_path.glob("*.md")) == ["README.md", "notes.md"]


def test_check_writes_nothing_and_fails_when_out_of_date(tmp_path, capsys):
    write_record(tmp_path / "records", record())
    assert main([f"leaderboards={tmp_path}", "check=true"]) == 1
    assert not list(tmp_path.glob("*.md"))
    assert main([f"leaderboards={tmp_path}"]) == 0
    assert main([f"leaderboards={tmp_path}", "check=true"]) == 0


def test_readme_block_is_renewed_and_an_unknown_one_refused(tmp_path):
    write_record(tmp_path / "records", record())
    readme = tmp_path / "README.md"
    readme.write_text("top\n<!-- BEGIN leaderboard: tiny-photos -->\nold\n<!-- END -->\nbottom\n")
    assert renew_readme(readme, tmp_path)
    text = readme.read_text()
    assert text.startswith("top\n<!-- BEGIN")
    assert text.endswith("<!-- END -->\nbottom\n")
    assert "old" not in text
    assert "| gsq" in text
    assert not renew_readme(readme, tmp_path)
    readme.write_text("<!-- BEGIN leaderboard: huge -->\n<!-- END -->\n")
    with pytest.raises(ValueError, match="begins with huge"):
        renew_readme(readme, tmp_path)


def test_a_readme_that_cannot_be_renewed_is_one_line(tmp_path, capsys):
    write_record(tmp_path / "records", record())
    for readme, words in {"no.md": "No such file", "blocks.md": "begins with base"}.items():
        (tmp_path / "blocks.md").write_text("<!-- BEGIN leaderboard: base -->\n<!-- END -->")
        assert main([f"leaderboards={tmp_path}", f"readme={tmp_path / readme}"]) == 2
        told = capsys.readouterr().err
        assert told.startswith("error: ")
        assert words in told
        assert told.count("\n") == 1


def test_typos_of_the_command_are_named(tmp_path, capsys):
    assert main(["leaderboard=x"]) == 2
    assert "leaderboards=" in capsys.readouterr().err
    assert main([f"leaderboards={tmp_path}"]) == 2


def test_two_tables_are_explained_by_the_facts_that_differ(tmp_path, capsys):
    for shared in (protocol(), protocol(steps=900), protocol(steps=900, precision="bfloat16")):
        write_record(tmp_path / "records", record(protocol=shared))
    assert main([f"leaderboards={tmp_path}", "--explain"]) == 0
    told = capsys.readouterr().out
    assert "steps: 300 here, 900 there" in told
    assert "precision: bfloat16 here, float32 there" in told
    assert "recipe" not in told
    assert not list(tmp_path.glob("*.md"))


def test_an_edited_or_copied_record_is_named_and_the_table_still_builds(tmp_path, capsys):
    records = tmp_path / "records"
    for one in seeds("a", *THREE):
        path = write_record(records, one)
    (records / "copy.json").write_bytes(path.read_bytes())
    path.write_text(path.read_text().replace("0.8", "0.9"))
    assert main([f"leaderboards={tmp_path}"]) == 0
    told = capsys.readouterr().err
    assert "copy.json is left out: it is a copy" in told
    assert f"{path.name} is left out: it was changed" in told
    (table,) = (p for p in tmp_path.glob("*.md") if p.name != "README.md")
    assert "| 0, 1 " in table.read_text()


def test_tables_and_comparisons_are_made_without_torch():
    code = "import sys, bench.leaderboard, bench.compare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
