"""What a README shows of a leaderboard."""

from records import record

from bench.report import page
from bench.report.table import Table


def excerpt(records):
    return page.excerpt(Table.of(records))


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
    assert "which add a setting to one of these: 1." in text
    assert "place is provisional, since a claim needs more seeds: 4." in text
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
