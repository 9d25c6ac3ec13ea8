"""A task in its own process: its result, its death, and Ctrl-C."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.jobs.process import ProcessDiedError, is_fresh_process, run_in_fresh_process
from bench.training.interrupt import Interrupted, StopRequest

WAITS = """
import os, pathlib, signal, time
from bench.training.interrupt import Interrupted, StopRequest
with StopRequest() as stop:
    os.kill(os.getpid(), signal.SIGINT)  # a terminal sends it to every process
    os.kill(os.getpid(), signal.SIGINT)
    pathlib.Path({path!r}).write_text(str(os.getpid()))
    while not stop.requested:
        time.sleep(0.01)
"""
SAVES = WAITS + 'raise Interrupted("saved")'
STUBBORN = """
import os, pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path({path!r}).write_text(str(os.getpid()))
time.sleep(60)
"""
OTHER_PROGRAM = """
import bench.jobs.process
bench.jobs.process._PRELOAD = ()
bench.jobs.process.run_in_fresh_process(exec, {task!r})
"""


@pytest.fixture(autouse=True)
def nothing_to_preload(monkeypatch):
    monkeypatch.setattr("bench.jobs.process._PRELOAD", ())


def when_written(path: Path) -> int:
    """Waits until the task's process has written its number."""
    for _ in range(3000):
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.01)
    raise TimeoutError(path)


def is_gone(process: int) -> bool:
    """Whether a process ends within seconds, even if its parent has not collected it yet."""
    for _ in range(1000):
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].startswith("Z"):
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def interrupt_later(path: Path, *, times: int) -> threading.Thread:
    """Sends SIGINT to this process once the task runs."""

    def send() -> None:
        when_written(path)
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_every_task_has_its_own_process_and_returns_its_result():
    processes = {run_in_fresh_process(os.getpid) for _ in range(2)}
    assert len(processes | {os.getpid()}) == 3
    assert run_in_fresh_process(max, 2, 3) == 3
    assert run_in_fresh_process(print) is None


def test_only_the_process_of_a_task_is_fresh():
    assert run_in_fresh_process(is_fresh_process)
    assert not is_fresh_process()


@pytest.mark.parametrize(
    ("task", "argument", "words"),
    [
        (signal.raise_signal, signal.SIGKILL, r"signal 9 \(SIGKILL\)"),
        (signal.raise_signal, signal.SIGSEGV, r"signal 11 \(SIGSEGV\)"),
        (os._exit, 3, "exit code 3"),
        (signal.raise_signal, signal.SIGTERM, r"signal 15 \(SIGTERM\)"),
    ],
)
def test_an_error_says_how_the_process_died(task, argument, words):
    with pytest.raises(ProcessDiedError, match=words):
        run_in_fresh_process(task, argument)


def test_ctrl_c_lets_the_task_save_and_ends_here(tmp_path):
    path = tmp_path / "process"
    thread = interrupt_later(path, times=1)
    with pytest.raises(Interrupted, match="saved"):
        run_in_fresh_process(exec, SAVES.format(path=str(path)))
    thread.join()
    assert is_gone(when_written(path))


def test_a_second_ctrl_c_ends_a_task_that_does_not_stop(tmp_path):
    path = tmp_path / "process"
    thread = interrupt_later(path, times=2)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_in_fresh_process(exec, STUBBORN.format(path=str(path)))
    assert time.monotonic() - started < 50  # the task sleeps for 60 s
    thread.join()
    assert is_gone(when_written(path))


def test_ctrl_c_at_the_end_of_a_task_is_not_forgotten(tmp_path):
    path = tmp_path / "process"
    thread = interrupt_later(path, times=1)
    with pytest.raises(KeyboardInterrupt):
        run_in_fresh_process(exec, WAITS.format(path=str(path)))
    thread.join()


def test_termination_by_parent_and_by_group_is_one_request():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_signals_from_a_terminal_do_not_reach_the_server():
    server = run_in_fresh_process(os.getppid)
    status = Path(f"/proc/{server}/status").read_text()
    (blocked,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigBlk")]
    for asked in (signal.SIGINT, signal.SIGTERM):
        assert int(blocked, 16) >> (asked - 1) & 1


def test_no_task_outlives_its_parent(tmp_path):
    path = tmp_path / "process"
    program = OTHER_PROGRAM.format(task=STUBBORN.format(path=str(path)))
    parent = subprocess.Popen([sys.executable, "-c", program])
    task = when_written(path)
    parent.kill()
    parent.wait()
    assert is_gone(task)
