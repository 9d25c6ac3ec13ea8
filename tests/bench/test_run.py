"""The main command, in this process and on small settings."""

import json
import textwrap

import pytest
from hydra.core.config_store import ConfigStore

from bench.record import read_records
from quantizers import available

BROKEN = textwrap.dedent(
    """
    from quantizers import Quantizer, QuantizerOutput, register

    @register("broken")
    class Broken(Quantizer):
        def __init__(self, *, latent_channels: int = 10) -> None:
            super().__init__(latent_channels=latent_channels, codebook_sizes=(2**latent_channels,))

        def quantize(self, z):
            raise RuntimeError("no quantizer today")

        def dequantize(self, indices):
            raise RuntimeError("no quantizer today")
    """
)


@pytest.fixture
def results(tmp_path):
    """Reads the records, as (quantizer, seed, status), and the table's text."""

    def read() -> tuple[list[tuple[str, int, str]], str]:
        records, problems = read_records(tmp_path / "leaderboards" / "records")
        assert not problems
        (table,) = (p for p in (tmp_path / "leaderboards").glob("*.md") if p.name != "README.md")
        rows = sorted((r.quantizer["name"], r.seed, r.status) for r in records)
        return rows, table.read_text()

    return read


def unrefused(rows: list[tuple[str, int, str]]) -> set[tuple[str, int]]:
    return {(name, seed) for name, seed, status in rows if status in ("ok", "collapsed")}


def test_a_list_of_quantizers_and_seeds_is_one_table(bench, results, capsys):
    assert bench("quantizer=fsq,none", "seed=0,1") == 0
    rows, table = results()
    assert unrefused(rows) == {(n, s) for n in ("fsq", "none") for s in (0, 1)}
    assert table.count("\n| ") >= 2
    assert "fsq" in capsys.readouterr().out


def test_records_prove_that_only_the_quantizer_differed(bench, tmp_path):
    bench("quantizer=gsq,vq,fsq,lfq,none", "seed=0")
    records, _ = read_records(tmp_path / "leaderboards" / "records")
    assert len(records) == 5
    for key in ("frame_at_step_0", "discriminator_at_step_0", "batches", "test_images"):
        assert len({record.hashes[key] for record in records}) == 1, key
    for record in records:
        record.config.pop("quantizer")
    assert len({json.dumps(record.config, sort_keys=True) for record in records}) == 1


def test_a_record_holds_what_later_comparisons_need(bench, tmp_path):
    bench("quantizer=gsq", "extractor=scattering")
    ((one,), _) = read_records(tmp_path / "leaderboards" / "records")
    assert one.budget["steps"] == 4
    assert one.budget["samples"] == 16
    assert one.budget["learning_rates"] == {"autoencoder": [1e-3], "discriminator": [1e-3]}
    assert one.budget["train_step_flops"] > 0
    assert one.environment["denormals_flushed"]
    assert one.tuning == {"ruleset": "default", "trials": 0}
    assert {"extractor", "perceptual_loss", "perceptual_metric", "test_images"} <= set(one.hashes)
    frechet, kernel = (one.protocol["extractor"][key] for key in ("metric", "kernel_metric"))
    assert set(one.leave_group_out) == {frechet, kernel} <= set(one.metrics)
    assert all(len(values) == 4 for values in one.leave_group_out.values())  # as many as images
    assert 0 < one.rate["measured_bits_per_position"] <= 10
    assert sum(use["miller_madow_entropy_bits"] for use in one.codebooks) == pytest.approx(
        one.rate["measured_bits_per_position"], rel=1e-5
    )


def test_the_same_command_skips_what_is_finished(bench, results, tmp_path, capsys):
    bench("quantizer=fsq")
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "leaderboards").rglob("*")}
    capsys.readouterr()
    assert bench("quantizer=fsq") == 0
    assert "already finished" in capsys.readouterr().err
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "leaderboards").rglob("*")} == files


def test_how_often_a_run_is_logged_makes_no_other_run(bench, capsys):
    bench("quantizer=fsq")
    bench("quantizer=fsq", "recipe.log_every=1", "recipe.checkpoint_every=1")
    assert "already finished" in capsys.readouterr().err


def test_a_later_run_of_another_quantizer_keeps_the_first_row(bench, results):
    bench("quantizer=fsq")
    bench("quantizer=vq")
    rows, table = results()
    assert unrefused(rows) == {("fsq", 0), ("vq", 0)}
    assert "| fsq" in table
    assert "| vq" in table


def test_a_failing_job_leaves_a_row_and_the_others_run(
    bench, results, tmp_path, monkeypatch, capsys
):
    (tmp_path / "broken_plugin.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert bench("plugins=broken_plugin", "quantizer=broken,fsq") == 1
        rows, table = results()
        assert ("broken", 0, "error") in rows
        assert unrefused(rows) == {("fsq", 0)}
        assert "RuntimeError: no quantizer today" in table
        assert "Traceback" not in capsys.readouterr().err
        assert bench("plugins=broken_plugin", "quantizer=broken") == 1
        assert "type retry=true" in capsys.readouterr().err
        bench("plugins=broken_plugin", "quantizer=broken", "retry=true")
        assert len([row for row in results()[0] if row[0] == "broken"]) == 2
    finally:
        from quantizers import registry

        registry._QUANTIZERS._factories.pop("broken", None)
        ConfigStore.instance().repo["quantizer"].pop("broken.yaml", None)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("quantizer=gssq", "fsq, "),
        ("quantizer=gssq", "did you mean 'gsq'?"),
        ("sed=1", "did you mean 'seed'?"),
        ("recipe.stpes=3", "did you mean 'recipe.steps'?"),
        ("recipe.steps=abc", "'abc' of type 'str' could not be converted to Integer"),
        ("quantizer.codebok_size=3", "did you mean 'quantizer.codebook_size'?"),
        ("recipe=huge", "unknown recipe 'huge'"),
        ("quantizer=glob(zzz*)", "nothing to run"),
        ("plugins=no_such_module", "is its folder on PYTHONPATH?"),
        ("plugins=one,two", "type 'plugins=[one,two]'"),
    ],
)
def test_a_typo_is_one_line_that_helps(bench, tmp_path, override, words, capsys):
    assert bench(override) == 2
    captured = capsys.readouterr().err
    assert words in captured
    assert captured.count("\n") == 1
    assert not (tmp_path / "leaderboards").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("rate=11", "it has 8, 10, 12, 14, 16, 18"),
        ("data=imagenet", "ImageNet expects images in"),
        ("extractor=vgg", "unknown extractor"),
        ("recipe.losses.generator=wgan", "non_saturating"),
    ],
)
def test_what_cannot_run_is_refused_before_it_starts(bench, tmp_path, override, words, capsys):
    assert bench("quantizer=gsq", override) == 1
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_two_rates_are_two_tables(bench, tmp_path):
    assert bench("quantizer=fsq", "rate=8,10") == 0
    assert len(list((tmp_path / "leaderboards").glob("smoke-*.md"))) == 2


def test_moving_leaderboards_publishes_finished_runs_there(bench, tmp_path):
    bench("quantizer=fsq")
    assert bench("quantizer=fsq", f"leaderboards={tmp_path / 'other'}") == 0
    assert len(list((tmp_path / "other" / "records").glob("*.json"))) == 1


@pytest.mark.slow
def test_glob_runs_every_method_and_skips_those_without_the_rate(bench, results, capsys):
    assert bench("quantizer=glob(*)") == 0
    rows = {row[0] for row in results()[0]}
    skipped = set(available()) - rows
    error = capsys.readouterr().err
    assert {"gsq", "vq", "fsq", "lfq", "none"} <= rows
    assert all(f"skipped: quantizer {name} has no operating point" in error for name in skipped)
    assert error.count("skipped:") == len(skipped)


def test_nothing_but_skipped_jobs_is_a_failure(bench):
    assert bench("quantizer=gsq,fsq", "rate=11") == 1


def test_help_is_one_page(capsys):
    from bench.run import main

    assert main(["--help"]) == 0
    page = capsys.readouterr().out
    assert "quantizer=gsq,vq,fsq" in page
    assert f"quantizer: {', '.join(available())}" in page
    assert page.count("\n") < 60
