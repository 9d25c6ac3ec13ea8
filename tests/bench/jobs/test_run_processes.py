"""How the processes of the main command end, and what they leave behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.jobs.process import ProcessDiedError
from bench.record import read_records

KILLER = """
import os
from quantizers import Quantizer, register

@register("killer")
class Killer(Quantizer):
    def __init__(self, *, latent_channels: int = 10) -> None:
        super().__init__(latent_channels=latent_channels, codebook_sizes=(2**latent_channels,))

    def quantize(self, z):
        os.kill(os.getpid(), 9)

    def dequantize(self, indices):
        os.kill(os.getpid(), 9)
"""


def no_process_is_left_of(group: int) -> bool:
    """Whether all processes of a group end within seconds."""
    for _ in range(500):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_a_job_that_dies_is_one_line_and_the_others_run(bench, tmp_path, monkeypatch, capsys):
    def dying(settle, run_job, cfg, command):
        if cfg.quantizer.name == "vq":
            raise ProcessDiedError("its process was ended by signal 9 (SIGKILL)")
        return settle(run_job, cfg, command)

    monkeypatch.setattr("bench.jobs.launch.run_in_fresh_process", dying)
    assert bench("quantizer=fsq,vq,lfq") == 1
    records, _ = read_records(tmp_path / "leaderboards" / "records")
    assert {record.quantizer["name"] for record in records} == {"fsq", "lfq"}
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "signal 9 (SIGKILL)" in line
    assert "the same command continues: python -m bench.run " in line
    assert line.endswith("quantizer=vq")


@pytest.mark.slow
def test_jobs_run_in_fresh_processes_and_the_command_needs_no_torch(arguments, tmp_path):
    program = f"""
import sys
from bench.run import main
assert main({[*arguments, "quantizer=fsq,vq"]}) == 0
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    records, _ = read_records(tmp_path / "leaderboards" / "records")
    assert [record.timing["fresh_process"] for record in records] == [True, True]


@pytest.mark.slow
def test_a_plugin_that_kills_its_process_does_not_stop_the_other_jobs(arguments, tmp_path):
    (tmp_path / "killer.py").write_text(KILLER)
    command = [sys.executable, "-m", "bench.run", "plugins=killer", "quantizer=killer,fsq"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "SIGKILL" in done.stderr
    assert "Traceback" not in done.stderr
    (record,), _ = read_records(tmp_path / "leaderboards" / "records")
    assert record.quantizer["name"] == "fsq"


@pytest.mark.parametrize(
    "asked", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_ctrl_c_ends_soon_and_the_same_command_continues(arguments, tmp_path, asked):
    """A terminal sends SIGINT, and `timeout` SIGTERM, to every process of the command."""
    command = [sys.executable, "-m", "bench.run", *arguments, "recipe.steps=100000"]
    command += ["recipe.checkpoint_every=100000"]
    process = subprocess.Popen(
        [*command, "quantizer=fsq,vq"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path.cwd(),
        start_new_session=True,
    )
    log = tmp_path / "runs"
    for _ in range(600):
        if any(path.stat().st_size for path in log.glob("*/log.jsonl")):
            break
        time.sleep(0.1)
    started = time.monotonic()
    os.killpg(process.pid, asked)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - started < 30
    assert "the same command continues" in error
    assert "Traceback" not in error
    assert len(list(log.glob("*/checkpoint.pt"))) == 1
    assert no_process_is_left_of(process.pid)


@pytest.mark.slow
def test_a_killed_run_ends_like_an_uninterrupted_one(arguments, tmp_path):
    """SIGKILL leaves no chance to save; the run continues from an earlier checkpoint."""
    steps = ["recipe.steps=60", "recipe.checkpoint_every=10", "quantizer=gsq"]
    command = [sys.executable, "-m", "bench.run", *arguments, *steps]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not any((tmp_path / "runs").glob("*/checkpoint.pt")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    subprocess.run(command, check=True, capture_output=True)
    alone = [f"runs={tmp_path / 'alone'}", f"leaderboards={tmp_path / 'other'}"]
    subprocess.run([*command, *alone], check=True, capture_output=True)
    (killed,), _ = read_records(tmp_path / "leaderboards" / "records")
    (straight,), _ = read_records(tmp_path / "other" / "records")
    assert killed.per_image == straight.per_image
    assert killed.metrics == straight.metrics
    assert killed.hashes == straight.hashes
