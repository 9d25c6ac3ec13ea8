import pytest
from records import protocol, record

from bench.compare import main
from bench.record import write_record


@pytest.fixture
def leaderboards(tmp_path):
    for rate in (10.0, 12.0):
        for name, mean in {"gsq": 25.0, "fsq": 26.0, "vq": 25.001}.items():
            for seed in range(5 if rate == 10 else 3):
                wobble = 0.01 * (seed % 2) * (1 + len(name) % 2)
                bits = {"bits_per_position": rate}
                one = record(name, seed, mean + wobble, protocol=protocol(rate=rate), rate=bits)
                write_record(tmp_path / "records", one)
    return tmp_path


def lines(capsys, *arguments):
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


def test_difference_interval_p_n_and_verdict_of_every_metric(leaderboards, capsys):
    code, out, _ = lines(capsys, "gsq", "fsq", "rate=10", f"leaderboards={leaderboards}")
    (psnr,) = (line for line in out if "PSNR dB" in line)
    assert code == 0
    assert "-1 " in psnr
    assert "5 seeds x 40 images" in psnr
    assert psnr.rstrip().endswith("worse")
    (distance,) = (line for line in out if "fd_scattering_v1" in line)
    assert distance.rstrip().endswith("tie")


def test_the_other_way_round_it_is_better(leaderboards, capsys):
    _, out, _ = lines(capsys, "fsq", "gsq", "rate=10", f"leaderboards={leaderboards}")
    assert any(line.rstrip().endswith("better") for line in out)


def test_three_seeds_do_not_make_anything_better(leaderboards, capsys):
    _, out, _ = lines(capsys, "fsq", "gsq", "rate=12", f"leaderboards={leaderboards}")
    (psnr,) = (line for line in out if "PSNR dB" in line)
    assert psnr.rstrip().endswith("higher; to be called better or worse needs 5 seeds")


def test_every_table_with_both_and_every_pair_is_shown(leaderboards, capsys):
    _, out, _ = lines(capsys, "gsq", "fsq", "vq", f"leaderboards={leaderboards}")
    assert sum("PSNR dB" in line for line in out) == 2 * 3
    assert sum(line.startswith("tiny-photos") for line in out) == 2


def test_use_of_codes_is_compared_over_seeds(tmp_path, capsys):
    for seed, usage in enumerate((0.7, 0.8, 0.9, 0.8, 0.8)):
        for name, value in {"gsq": usage, "fsq": 0.2}.items():
            base = record(name, seed)
            write_record(
                tmp_path / "records",
                record(name, seed, metrics=base.metrics | {"usage": value, "perplexity": 3.0}),
            )
    _, out, _ = lines(capsys, "gsq", "fsq", f"leaderboards={tmp_path}")
    (usage,) = (line for line in out if " usage % " in line)
    (perplexity,) = (line for line in out if " perplexity " in line)
    assert usage.split("  ")[-1] == "better"
    assert " 5 seeds " in usage
    assert "+60 " in usage
    assert perplexity.rstrip().endswith("tie")


def test_one_seed_has_no_interval(tmp_path, capsys):
    for name in ("gsq", "fsq"):
        write_record(tmp_path / "records", record(name))
    _, out, _ = lines(capsys, "gsq", "fsq", f"leaderboards={tmp_path}")
    assert all("1 seed" in line and "1 seeds" not in line for line in out if "fsq" in line)
    assert all(line.endswith("one seed has no error") for line in out if "fsq" in line)
    assert "nan" not in "".join(out)


def test_a_comparison_with_an_unfair_row_says_so(leaderboards, capsys):
    unfair = record("lfq", 0, 30.0)
    unfair.hashes["batches"] = "other"
    write_record(leaderboards / "records", unfair)
    _, out, _ = lines(capsys, "lfq", "fsq", "rate=10", f"leaderboards={leaderboards}")
    assert sum("lfq is unfair: batch order" in line for line in out) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("gqs", "fsq"), "did you mean 'gsq'?"),
        (("gsq", "fsq", "rates=10"), "did you mean 'rate='?"),
        (("gsq",), "name another quantizer"),
        ((), "type python -m bench.compare gsq fsq"),
        (("gsq", "fsq", "rate=9"), "no table has rate=9; there are: tiny-photos-"),
    ],
)
def test_a_mistake_is_one_line_that_helps(leaderboards, capsys, arguments, words):
    code, _, error = lines(capsys, *arguments, f"leaderboards={leaderboards}")
    assert code == 2
    assert words in error
    assert error.count("\n") == 1


def test_a_folder_without_records_is_named(tmp_path, capsys):
    code, _, error = lines(capsys, "gsq", "fsq", f"leaderboards={tmp_path}")
    assert code == 2
    assert error == f"error: no records in {tmp_path / 'records'}; type leaderboards=DIR\n"
