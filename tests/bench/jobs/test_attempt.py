"""What one attempt at a run keeps of its training."""

import pytest
import torch

from bench.jobs.judging import verdict
from bench.metrics import CodebookStatistics
from bench.record import Record, read_records
from bench.training.log import MetricsLog


@pytest.fixture
def attempts(bench, tmp_path):
    """Runs the main command; returns the records and, by run, the last line of each log."""

    def run(*overrides: str) -> tuple[list[Record], dict]:
        assert bench(*overrides) == 0
        records, _ = read_records(tmp_path / "leaderboards" / "records")
        last = {r.run: MetricsLog.lines(tmp_path / "runs" / r.run)[-1] for r in records}
        return records, last

    return run


def test_a_record_keeps_the_health_of_the_codes_at_the_last_step(attempts):
    (record,), logs = attempts("quantizer=vq", "recipe.log_every=1")
    last = logs[record.run]
    assert last["step"] == 4
    assert set(record.training) == {"quantization_snr_db", "code_norm_drift", "dead_codes"}
    assert record.training == pytest.approx({name: last[name] for name in record.training})
    assert 0 < record.training["dead_codes"] < 1024
    assert record.training["code_norm_drift"] > 0


def test_only_explicit_codes_drift_and_only_codes_have_health(attempts):
    records, _ = attempts("quantizer=fsq,none")
    training = {record.quantizer["name"]: set(record.training) for record in records}
    assert training == {"fsq": {"quantization_snr_db", "dead_codes"}, "none": set()}


def test_a_run_that_was_killed_after_its_last_step_keeps_them_too(attempts, bench, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bench.jobs.attempt.judge", killed)
        assert bench("quantizer=vq") != 0
    (record,), logs = attempts("quantizer=vq")
    assert record.training["dead_codes"] == logs[record.run]["dead_codes"]


@pytest.mark.parametrize(
    ("sizes", "used", "status"),
    [
        ((1024,), 11, "collapsed"),  # 10 of 1023 beyond the first
        ((1024,), 12, "ok"),
        ((64,) * 8, 16, "ok"),  # (16 / 64)^8 is far below 1 %
        ((64,) * 8, 1, "collapsed"),
        ((2,) * 16, 1, "collapsed"),
    ],
)
def test_a_collapse_is_judged_codebook_by_codebook(sizes, used, status):
    statistics = CodebookStatistics(sizes)
    statistics.add(torch.arange(used).repeat(4)[:, None].expand(-1, len(sizes)))
    ended, reason = verdict(statistics.result())
    assert ended == status
    assert reason == "" if status == "ok" else str(sizes[0]) in reason


def test_without_codebooks_nothing_collapses():
    assert verdict(CodebookStatistics(()).result()) == ("ok", "")
