"""compile=true: what is compiled, that its time is counted separately, and what stays equal."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from records import protocol, record
from torch import nn

from bench.command_line import UsageError
from bench.leaderboard import render
from bench.record import read_records, table_name
from bench.training.compilation import check_compiler, compile_events
from bench.training.step_window import StepWindow
from models import Encoder, PerceptualDistance

SCRIPT = Path(__file__).with_name("compiled_training.py")


@pytest.fixture(autouse=True)
def _no_remembered_check():
    check_compiler.cache_clear()


@pytest.fixture
def compiled(monkeypatch):
    """Replaces torch's compiler by a wrapper; returns the list of modules that were called."""
    calls: list[nn.Module] = []

    def compile_(module: nn.Module, **options: bool) -> None:
        assert options == {"dynamic": False, "fullgraph": True}

        def call(*arguments):
            calls.append(module)
            return module._call_impl(*arguments)

        module._compiled_call_impl = call

    monkeypatch.setattr(nn.Module, "compile", compile_)
    return calls


class Difference(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x - y).square().mean(dim=(1, 2, 3))


@pytest.fixture
def small(trainer):
    """Builds a trainer with all four parts that can be compiled."""
    distance = PerceptualDistance(name="small", network=Difference(), min_side=1)
    return partial(trainer, "quantizer=gsq", perceptual=distance)


def test_only_the_parts_that_all_quantizers_share_are_compiled(small, compiled):
    run = small("compile=true")
    run.run()
    frame = run.autoencoder
    shared = [frame.encoder, frame.decoder, run.adversary.discriminator, run.perceptual]
    assert {id(module) for module in compiled} == {id(module) for module in shared}
    assert [compiled.count(module) for module in shared] == [4, 4, 12, 4]
    compiled.clear()
    run.average.module(torch.zeros(1, 3, 32, 32))  # the average is judged
    assert not compiled


def test_without_the_option_nothing_is_compiled(small, compiled):
    small().run()
    assert not compiled


def test_a_checkpoint_serves_with_and_without_compilation(small, compiled):
    first = small("compile=true", "recipe.steps=2")
    first.run()
    second = small("recipe.steps=2")
    assert second.step == 2
    names, others = (list(run.autoencoder.state_dict()) for run in (first, second))
    assert names == others
    assert all(map(torch.equal, first.autoencoder.parameters(), second.autoencoder.parameters()))


def test_compilation_stops_the_clocks_of_the_steps(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("bench.training.step_window.time.perf_counter", lambda: now[0])
    monkeypatch.setattr("bench.training.step_window.time.process_time", lambda: now[0] / 2)
    window = StepWindow()
    for passed, change in ((1.0, window.pause), (40.0, window.resume), (2.0, lambda: None)):
        now[0] += passed
        change()
    assert now[0] - window._started == 3.0
    assert now[0] / 2 - window._worked == 1.5
    assert window.compile_seconds == 40.0


def test_compile_events_are_seen_only_within_the_block():
    events = []

    def twice(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    def call(shape: int) -> None:
        torch.compile(twice, backend="eager", dynamic=False)(torch.ones(shape))

    with compile_events(start=lambda: events.append("start"), end=lambda: events.append("end")):
        call(2)
        call(2)
        assert events == ["start", "end"]
    call(3)
    assert events == ["start", "end"]


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("\nno compiler found\nin any folder")


def test_a_machine_that_cannot_compile_says_so_before_the_run(bench, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch, "compile", broken)
    assert bench("quantizer=fsq", "compile=true") == 1
    shown = capsys.readouterr().err
    assert "error: compile=true needs a C++ compiler" in shown
    assert "RuntimeError: no compiler found; install it, or type compile=false" in shown
    assert not list(tmp_path.rglob("*.json"))
    assert not list(tmp_path.rglob("log.jsonl"))


def test_on_cuda_it_is_triton_that_may_be_missing(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda *_, **__: broken)
    monkeypatch.setattr(torch, "ones", lambda *_, **__: None)
    with pytest.raises(UsageError, match="Triton"):
        check_compiler(torch.device("cuda"))


def test_a_record_names_the_option_only_where_it_was_used(bench, tmp_path, compiled, monkeypatch):
    monkeypatch.setattr("bench.jobs.run_job.check_compiler", lambda device: None)
    assert bench("quantizer=fsq") == bench("quantizer=fsq", "compile=true") == 0
    records, problems = read_records(tmp_path / "leaderboards" / "records")
    assert not problems
    with_option, without = sorted(records, key=lambda one: "compiled" not in one.run)
    assert "compile" not in without.protocol | without.config | without.timing
    assert "-compiled-cpu-" in with_option.run
    assert with_option.protocol["compile"] is with_option.config["compile"] is True
    assert with_option.timing["compile_seconds"] == 0.0  # nothing was compiled in truth
    assert "compile=" in with_option.command
    assert with_option.budget["train_step_flops"] == without.budget["train_step_flops"] > 0
    encoders = [module for module in compiled if isinstance(module, Encoder)]
    assert len(set(map(id, encoders))) == 1  # its copy, whose operations are counted, is not


def test_a_table_of_compiled_runs_has_a_name_and_a_line_of_its_own():
    shared = protocol(compile=True)
    assert table_name(shared).startswith("tiny-photos-10bit-S-compiled-cpu-")
    timing = {"ms_per_step": 80.0, "compile_seconds": 41.2}
    pages = render([record(), record(protocol=shared, timing=timing)])
    (eager,), (page,) = (
        [text for name, text in pages.items() if name.startswith(f"tiny-photos-10bit-S-{kind}")]
        for kind in ("cpu", "compiled")
    )
    assert "excludes compilation, which took 41 s per run" in page
    assert ", cpu, compiled" in page
    assert "compil" not in eager


@pytest.mark.compile
def test_compiled_training_resumes_exactly_and_agrees_with_eager_training(
    arguments, picture_folder, tmp_path
):
    words = [
        *arguments,
        *(f"recipe.frame.{key}" for key in ("multipliers=[1,1]", "encoder_depths=[0,0,1]")),
        *("recipe.frame.decoder_depths=[0,0,1]", "recipe.discriminator.layers=1"),
        *("recipe.log_every=1", "recipe.checkpoint_every=1", "recipe.losses.perceptual=none"),
        *(f"recipe.optimizer.{key}learning_rate=1e-5" for key in ("", "discriminator_")),
    ]
    root = str(SCRIPT.parents[3])
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(picture_folder), str(tmp_path), *words],
        capture_output=True,
        text=True,
        cwd=root,
        env=os.environ | {"PYTHONPATH": root},
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["code"] == 0
    timing = result["record"]["timing"]
    assert 0 < timing["train_seconds"] < timing["compile_seconds"]
    assert not [name for name in result["names"] if "_orig_mod" in name]
    assert result["resumed"] == [3, 4]
    assert result["equal"]
    assert result["compiled"] == pytest.approx(result["eager"], rel=1e-5)
    seconds, compile_seconds = result["seconds"]
    assert 0 < seconds < compile_seconds
