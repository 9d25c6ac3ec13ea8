import time
from contextlib import contextmanager

import pytest
import torch

from bench.command_line import UsageError
from bench.speed import frame, judge_time, steps, training_step
from bench.speed.comparison import Grid
from bench.speed.profile import profiled
from bench.speed.steps import configuration, nearest_rate, prepare, quantizer_call, step_call
from bench.speed.training_step import CONTROL, NONE
from bench.training.interrupt import StopRequest

CPU = torch.device("cpu")
STOP = StopRequest()
ONE_ROUND = Grid((), 1)


@pytest.fixture
def words(arguments):
    """Overrides of a run of a few thousand weights."""
    return [word for word in arguments if not word.startswith("recipe=")]


def quantizers(page) -> list[str]:
    return [row["quantizer"] for row in page.rows]


def test_every_quantizer_has_a_ratio_to_none_and_none_has_one(words):
    page = training_step.section(Grid((), 2), CPU, STOP, quantizers=["none", "vq"], overrides=words)
    assert quantizers(page) == ["`none`", "`none`, again", "`vq`"]
    assert page.rows[0]["over none"] == "1.000"
    assert page.rows[2]["operating point"] == "codebook_size=1024"
    assert page.targets[0].measured.endswith("(vq)")
    assert "2 rounds after 2 steps" in " ".join(page.text.split())


def test_the_larger_recipe_is_measured_for_few_quantizers_and_has_no_target(words, monkeypatch):
    monkeypatch.setitem(training_step.LARGER, "cpu", ("recipe=smoke", "recipe.batch_size=3"))
    words = [word for word in words if "batch_size" not in word]
    page = training_step.section(
        ONE_ROUND, CPU, STOP, quantizers=["bsq", "fsq"], larger=True, overrides=words
    )
    assert quantizers(page) == ["`none`", "`none`, again", "`fsq`"]
    assert "batch of 3," in page.text
    assert not page.targets


@pytest.mark.parametrize(("device", "recipe"), [("cpu", ("base", 128)), ("cuda", ("paper", 256))])
def test_the_larger_recipe_exists(device, recipe):
    larger = configuration("gsq", *training_step.LARGER[device]).recipe
    assert (larger.name, larger.image_size) == recipe


def test_more_codes_are_measured_if_asked_and_only_small_ones_decide(words):
    runs = training_step.runs_of(["vq", "gsq"], Grid((12, 14), 1), CPU, words)
    assert list(runs) == [
        *(NONE, CONTROL),
        *("vq", "vq, V=2^12", "vq, V=2^14"),
        *("gsq", "gsq, V=2^12", "gsq, V=2^14"),
    ]
    assert runs["gsq, V=2^14"].point.hyperparameters["codebook_size"] == 2**14
    ratios = dict.fromkeys(runs, 1.0) | {"vq, V=2^14": 9.0, CONTROL: 9.0, "gsq, V=2^12": 1.11}
    target = training_step.target(runs, ratios, CPU)
    assert target.measured == "1.11 times (gsq, V=2^12)"
    assert target.reached is False


def test_a_method_without_ten_bits_takes_its_nearest():
    assert nearest_rate("vq") == 10
    assert nearest_rate("e8") != 10


def test_two_runs_do_the_trainer_s_steps_on_the_same_batches(words, tmp_path, monkeypatch):
    trainers = []
    original = steps.Trainer

    def recorded(*arguments, **options):
        trainers.append(original(*arguments, **options))
        return trainers[-1]

    monkeypatch.setattr(steps, "Trainer", recorded)
    run = prepare(configuration("vq", "recipe=smoke", *words), CPU)
    state = torch.get_rng_state()
    with torch.random.fork_rng():
        batches = list(run.batches(2))
        for name in "ab":
            call = step_call(run, batches, tmp_path / name)
            call()
            call()
    assert torch.equal(torch.get_rng_state(), state)
    assert trainers[0].step == 2
    assert trainers[0].batches_sha256 == trainers[1].batches_sha256
    first, second = (list(trainer.autoencoder.parameters()) for trainer in trainers)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_quantizer_that_cannot_do_a_step_is_left_out_with_a_line(words, monkeypatch, capsys):
    def broken(self, z):
        raise RuntimeError("no kernel")

    monkeypatch.setattr("quantizers.vq.VQ.quantize", broken)
    page = training_step.section(ONE_ROUND, CPU, STOP, quantizers=["vq", "fsq"], overrides=words)
    assert quantizers(page) == ["`none`", "`none`, again", "`fsq`"]
    assert "vq failed: RuntimeError: no kernel" in capsys.readouterr().err


def test_the_frame_and_the_loader_have_a_row(words, monkeypatch):
    monkeypatch.setattr(frame, "peak_flops_per_second", lambda *_: 1e15)
    (row,) = frame.frame_section(Grid([""], 1), CPU, STOP, *words).rows
    assert row["peak GFLOP/s"] == "1,000,000"
    assert row["achieved / peak"] == "0.00"
    assert row["option"] == row["compilation"] == "-"
    rows = frame.loader_section(Grid([""], 1), CPU, STOP, *words).rows
    assert [row["data"] for row in rows] == ["folder", "JPEG files of 256 px"]
    for row in rows:
        read, taken = (
            float(row[f"{part}, images/s"].replace(",", "")) for part in ("loader", "step")
        )
        assert read > 0
        assert int(row["processes that keep up"]) == pytest.approx(taken / read, abs=1.05)


def test_the_compiled_frame_has_a_row_with_its_compilation(words, monkeypatch):
    def compile_frame(modules):
        def call(images):
            events["start"]()
            time.sleep(0.05)
            events["end"]()
            return modules.autoencoder.encoder._call_impl(images)

        modules.autoencoder.encoder._compiled_call_impl = call

    @contextmanager
    def compile_events(*, start, end):
        events.update(start=start, end=end)
        yield

    events: dict = {}
    monkeypatch.setattr(frame, "peak_flops_per_second", lambda *_: 1e15)
    monkeypatch.setattr(frame, "compile_events", compile_events)
    monkeypatch.setattr(frame, "check_compiler", lambda device: None)
    monkeypatch.setattr("bench.training.trainer.compile_frame", compile_frame)
    grid = Grid(["", "compile=true"], 1)
    eager, compiled = frame.frame_section(grid, CPU, STOP, *words).rows
    assert (eager["option"], compiled["option"]) == ("-", "`compile=true`")
    assert eager["compilation"] == "-"
    assert compiled["compilation"].endswith("s")
    assert eager["GFLOP"] == compiled["GFLOP"]


def test_without_a_compiler_the_frame_is_measured_without_it(words, monkeypatch, capsys):
    def refuse(device):
        raise UsageError("compile=true needs a C++ compiler")

    monkeypatch.setattr(frame, "peak_flops_per_second", lambda *_: 1e15)
    monkeypatch.setattr(frame, "check_compiler", refuse)
    assert len(frame.frame_section(Grid(["", "compile=true"], 1), CPU, STOP, *words).rows) == 1
    assert "frame: compile=true needs a C++ compiler" in capsys.readouterr().err


def test_a_profile_of_a_training_step_shows_its_quantizer(words):
    run = prepare(configuration("gumbel_vq", "recipe=smoke", *words), CPU)
    state = torch.get_rng_state()
    call = quantizer_call(run)
    assert torch.equal(torch.get_rng_state(), state)
    shares = profiled(call, CPU).shares
    assert any("softmax" in name for name in shares)
    assert not any("convolution" in name for name in shares)


def test_few_images_cannot_tell_whether_the_judge_is_fast():
    page = judge_time.section(Grid([8], 0), CPU, STOP)
    assert page.rows[0]["images"] == "8"
    assert page.targets[0].reached is None
