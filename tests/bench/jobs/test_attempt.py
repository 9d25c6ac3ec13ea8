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


def fails_with(error: type[BaseException]):
    def fail(*_, **__):
        raise error("broken")

    return fail


def test_a_failed_run_records_what_was_known_before_the_failure(bench, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.jobs.attempt.judge", fails_with(RuntimeError))
    assert bench("quantizer=vq") == 1
    monkeypatch.setattr("bench.jobs.attempt.train_step_flops", fails_with(MemoryError))
    assert bench("quantizer=fsq") == 1
    fsq, vq = read_records(tmp_path / "leaderboards" / "records")[0]
    assert (fsq.status, fsq.reason) == ("error", "MemoryError: broken")
    assert fsq.parameters["encoder"] > 0
    assert "frame_at_step_0" in fsq.hashes
    assert fsq.budget == fsq.timing == {}
    assert (vq.status, vq.reason) == ("error", "RuntimeError: broken")
    assert vq.budget["steps"] == 4
    assert vq.timing["ms_per_step"] > 0
    assert {"frame_at_step_0", "batches"} <= vq.hashes.keys()
    assert "dead_codes" in vq.training
    assert vq.metrics == {}


def test_a_record_keeps_the_health_of_the_codes_after_the_last_step(attempts):
    (record,), logs = attempts("quantizer=vq", "recipe.log_every=1")
    last = logs[record.run]
    assert last["step"] == 4
    assert set(record.training) == {"quantization_snr_db", "code_norm_drift", "dead_codes"}
    assert record.training == pytest.approx({name: last[name] for name in record.training})
    assert 0 < record.training["dead_codes"] < 1024
    assert record.training["code_norm_drift"] > 0


def test_only_explicit_codes_drift_and_only_codes_have_a_health(attempts):
    records, _ = attempts("quantizer=fsq,none")
    training = {record.quantizer["name"]: set(record.training) for record in records}
    assert training == {"fsq": {"quantization_snr_db", "dead_codes"}, "none": set()}


def test_a_run_killed_after_its_last_step_keeps_the_health_too(attempts, bench, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("bench.jobs.attempt.judge", fails_with(KeyboardInterrupt))
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
