"""Cells of a table and the lines that explain them, from hand-made records."""

from records import record

from bench.report import page
from bench.report.table import Table


def markdown(records):
    return page.markdown(Table.of(records))


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
    assert "Joint bits are the entropy of several codebooks together" in text


def test_without_several_codebooks_nothing_is_said_of_joint_bits():
    text = markdown(with_rates("single", 1, 8.0, 8.1, 8.2))
    assert "Measured bits are the entropy of the indices" in text
    assert "joint" not in text.lower()


def test_a_table_says_how_many_of_its_times_are_of_fresh_processes():
    rows = [record("a", seed) for seed in range(3)]
    assert "0 of 3 timed runs had a process of their own" in markdown(rows)
    rows[0].timing["fresh_process"] = True
    rows[1].timing["ms_per_step"] = None
    assert "1 of 2 timed runs had a process of their own" in markdown(rows)
    rows[2].timing["fresh_process"] = True
    assert "Every timed run had a process of its own." in markdown(rows)
    for one in rows:
        one.timing["ms_per_step"] = None
    assert "process of" not in markdown(rows)
