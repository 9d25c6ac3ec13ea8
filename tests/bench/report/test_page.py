"""One leaderboard as text: its file and what a README shows of it, from hand-made records."""

from records import record

from bench.report import page
from bench.report.table import Table


def markdown(records):
    return page.markdown(Table.of(records))


def excerpt(records):
    return page.excerpt(Table.of(records))


def with_rates(name: str, codebooks: int, *joint: float | None):
    """A row whose seeds measured 8, 8.1, 8.2 bits one by one and `joint` bits together."""
    rows = [
        record(name, seed, codebooks=[{"perplexity": 20.0}] * codebooks)
        for seed in range(len(joint))
    ]
    for one, bits in zip(rows, joint, strict=True):
        one.rate["joint_bits_per_position"] = bits
    return rows


def test_joint_bits_stand_beside_measured_ones_where_there_are_several_codebooks():
    rows = [*with_rates("single", 1, 8.0, 8.1, 8.2), *with_rates("many", 2, 6.0, 6.2, 6.4)]
    text = markdown([*rows, *with_rates("few", 2, 6.0, None, 6.4)])
    assert "8.10 ± 0.10, joint 6.20 ± 0.20 " in text
    assert "8.10 ± 0.10, joint - " in text
    assert "8.10 ± 0.10  " in text
    assert "Joint bits are the entropy of all codebooks together" in text


def test_without_several_codebooks_nothing_is_said_of_joint_bits():
    text = markdown(with_rates("single", 1, 8.0, 8.1, 8.2))
    assert "Measured bits are the entropy of the indices" in text
    assert "joint" not in text.lower()


def test_a_table_says_how_many_of_its_times_are_of_fresh_processes():
    rows = [record("a", seed) for seed in range(3)]
    assert "0 of 3 timed runs had their own process" in markdown(rows)
    rows[0].timing["fresh_process"] = True
    rows[1].timing["ms_per_step"] = None
    assert "1 of 2 timed runs had their own process" in markdown(rows)
    rows[2].timing["fresh_process"] = True
    assert "Every timed run had its own process." in markdown(rows)
    for one in rows:
        one.timing["ms_per_step"] = None
    assert "own process" not in markdown(rows)


def rows(name, point, psnr, *, control=None, seeds=3):
    made = [record(name, seed, psnr) for seed in range(seeds)]
    for one in made:
        one.quantizer.update(operating_point=point, control=control)
    return made


def test_rows_that_add_a_setting_to_one_of_the_same_method_are_left_out_and_counted():
    records = [
        *rows("gsq", "groups=1, codebook_size=1024", 25.0),
        *rows("gsq", "groups=1, codebook_size=1024, spherical=True", 26.0),
        *rows("gsq", "groups=2, codebook_size=32", 24.0),
        *rows("vq", "codebook_size=1024, spherical=True", 23.0),
    ]
    text = excerpt(records)
    assert text.startswith("**tiny on photos, 10 bits per position, budget S, cpu**\n\n| rank")
    assert text.count("| gsq ") == 2
    assert text.count("| vq ") == 1  # what it adds to is another method's
    assert "spherical" not in text.partition("| vq ")[0]
    assert "because they add a setting to one of these: 1." in text
    assert "Rows with a provisional rank, because a claim needs more seeds: 4." in text
    assert "fair: 14/14 checks" in text


def test_a_table_of_few_columns_keeps_rates_and_what_numbers_are_not():
    records = [
        *rows("gsq", "codebook_size=1024", 25.0, seeds=5),
        *rows("jpeg", "quality=1", 21.0, control="a file"),
    ]
    text = excerpt(records)
    head = text.splitlines()[2]
    assert all(name in head for name in ("bits/position", "PSNR dB ↑", "Δ PSNR dB", "status"))
    assert not any(name in head for name in ("SSIM", "usage", "perplexity", "GFLOP"))
    contenders, controls = text.split("Controls, not ranked:")
    assert "jpeg" not in contenders
    assert "| jpeg" in controls
    assert "not rFID" in controls
    assert "provisional" not in text
    assert "left out" not in text
