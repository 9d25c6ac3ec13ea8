import json
import sys

from bench.training.log import MetricsLog, Progress


def test_without_a_terminal_lines_are_plain_and_seconds_apart(capsys, monkeypatch):
    clock = iter([0.0, 1.0, 6.5, 6.5, 7.0, 20.0, 20.0, 21.0])
    monkeypatch.setattr("bench.training.log.time.monotonic", lambda: next(clock))
    progress = Progress("gsq", start=0, total=40)
    for step in (10, 20, 30, 35):
        progress.show(step, {"loss": 1.0, "psnr_db": 20.0, "usage": 0.5})
    progress.show(40, {"loss": 0.5, "psnr_db": 21.0})
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "gsq: step 20/40, loss 1.000, 20.00 dB, usage 50 %",
        "gsq: step 35/40, loss 1.000, 20.00 dB, usage 50 %",
        "gsq: step 40/40, loss 0.500, 21.00 dB",
    ]


def test_on_a_terminal_a_bar_carries_the_values(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = Progress("gsq", start=2, total=4)
    progress.advance()
    progress.show(3, {"loss": 1.0, "psnr_db": 20.0, "usage": 0.5})
    progress.close()
    assert "20.00 dB, usage 50 %" in capsys.readouterr().err


def test_a_log_line_cut_short_by_a_kill_is_dropped(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    log = MetricsLog(tmp_path, start=1, tensorboard=False)
    log.write(2, {"loss": 1.0})
    log.close()
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "loss": 2.0},
        {"step": 2, "loss": 1.0},
    ]


def test_tensorboard_events_hold_the_values(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = MetricsLog(tmp_path, start=0, tensorboard=True)
    log.write(10, {"loss": 0.25})
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (event,) = events.Scalars("loss")
    assert (event.step, event.value) == (10, 0.25)
