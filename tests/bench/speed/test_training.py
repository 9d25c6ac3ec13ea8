import time
from contextlib import contextmanager

import pytest
import torch

from bench.conf.schema import ConfigError
from bench.speed import frame, judge, training
from bench.speed.profile import profiled
from bench.speed.steps import configuration, nearest_rate, prepare, quantizer_alone, steppers
from bench.speed.training import CONTROL, NONE, Length
from bench.training.interrupt import StopRequest

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch):
    monkeypatch.setattr(training, "_WARM_UP", 1)
    monkeypatch.setattr(frame, "_WARM_UP", 1)


@pytest.fixture
def words(arguments):
    """Overrides of a run of a few thousand weights."""
    return [word for word in arguments if not word.startswith("recipe=")]


def test_every_quantizer_has_a_ratio_to_none_and_none_has_one(words):
    section = training.measure(
        ["none", "vq"], Length(2, 60.0), CPU, stop=StopRequest(), overrides=words
    )
    assert [row["quantizer"] for row in section.rows] == ["`none`", "`none`, again", "`vq`"]
    assert section.rows[0]["over none"] == "1.000"
    assert section.rows[2]["operating point"] == "codebook_size=1024"
    assert section.targets[0].measured.endswith("(vq)")


def test_the_larger_recipe_is_measured_for_few_quantizers_and_has_no_target(words, monkeypatch):
    monkeypatch.setitem(training._LARGER, "cpu", ("recipe=smoke", "recipe.batch_size=3"))
    section = training.measure_larger(
        ["bsq", "fsq"],
        Length(1, 60.0),
        CPU,
        stop=StopRequest(),
        overrides=[word for word in words if "batch_size" not in word],
    )
    assert [row["quantizer"] for row in section.rows] == ["`none`", "`none`, again", "`fsq`"]
    assert "batch of 3," in section.text
    assert not section.targets


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_larger_recipe_is_one_that_there_is(device):
    recipe = configuration("gsq", *training._LARGER[device]).recipe
    assert (recipe.name, recipe.image_size) == {"cpu": ("base", 128), "cuda": ("paper", 256)}[
        device
    ]


def test_more_codes_are_measured_where_asked_and_only_small_ones_decide(words):
    runs = training._runs(["vq", "gsq"], Length(1, 1.0, (12, 14)), CPU, words)
    assert list(runs) == [
        NONE,
        CONTROL,
        "vq",
        "vq, V=2^12",
        "vq, V=2^14",
        "gsq",
        "gsq, V=2^12",
        "gsq, V=2^14",
    ]
    assert runs["gsq, V=2^14"].point.hyperparameters["codebook_size"] == 2**14
    ratios = dict.fromkeys(runs, 1.0) | {"vq, V=2^14": 9.0, CONTROL: 9.0, "gsq, V=2^12": 1.11}
    target = training._target(runs, ratios, CPU)
    assert target.measured == "1.11 times (gsq, V=2^12)"
    assert target.reached is False


def test_a_method_without_ten_bits_takes_its_nearest():
    assert nearest_rate("vq") == 10
    assert nearest_rate("e8") != 10


def test_the_steps_are_those_of_the_trainer_and_leave_the_generator_alone(words):
    run = prepare(configuration("vq", "recipe=smoke", *words), CPU)
    state = torch.get_rng_state()
    with steppers({"a": run, "b": run}, 2) as each:
        for step in each.values():
            step()
            step()
        trainers = [step._trainer for step in each.values()]
    assert torch.equal(torch.get_rng_state(), state)
    assert trainers[0].step == 2
    assert trainers[0].batches_sha256 == trainers[1].batches_sha256
    first, second = (list(trainer.autoencoder.parameters()) for trainer in trainers)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_quantizer_that_cannot_do_a_step_is_left_out_with_a_line(words, monkeypatch, capsys):
    def broken(self, z):
        raise RuntimeError("no kernel")

    monkeypatch.setattr("quantizers.vq.VQ.quantize", broken)
    section = training.measure(
        ["vq", "fsq"], Length(1, 5.0), CPU, stop=StopRequest(), overrides=words
    )
    assert [row["quantizer"] for row in section.rows] == ["`none`", "`none`, again", "`fsq`"]
    assert "training: vq left out: RuntimeError: no kernel" in capsys.readouterr().err


def test_rounds_end_with_their_time(words):
    run = prepare(configuration("none", "recipe=smoke", *words), CPU)
    with steppers({NONE: run}, 2) as each:
        seconds = training._rounds(each, Length(50, 0.0), CPU, StopRequest())
    assert len(seconds[NONE]) == 1


def test_the_frame_and_the_loader_have_a_row(words, monkeypatch):
    monkeypatch.setattr(frame, "peak_flops_per_second", lambda *_: 1e15)
    (row,) = frame.measure_frame(1, CPU, *words).rows
    assert row["peak GFLOP/s"] == "1,000,000"
    assert row["achieved / peak"] == "0.00"
    assert row["option"] == row["compilation"] == "-"
    rows = frame.measure_loader(1, CPU, *words).rows
    assert [row["data"] for row in rows] == ["folder", "JPEG files of 256 px"]
    for row in rows:
        read, taken = (
            float(row[f"{part}, images/s"].replace(",", "")) for part in ("loader", "step")
        )
        assert read > 0
        assert int(row["processes that keep up"]) == pytest.approx(taken / read, abs=1.05)


def test_the_compiled_frame_has_a_row_and_its_compilation_stands_apart(words, monkeypatch):
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
    eager, compiled = frame.measure_frame(1, CPU, *words, compiled=True).rows
    assert (eager["option"], compiled["option"]) == ("-", "`compile=true`")
    assert eager["compilation"] == "-"
    assert 100 <= float(compiled["compilation"].removesuffix(" ms")) < 1000  # two calls or more
    assert eager["GFLOP"] == compiled["GFLOP"]


def test_without_a_compiler_the_frame_is_measured_without_it(words, monkeypatch, capsys):
    def refuse(device):
        raise ConfigError("compile=true needs a C++ compiler")

    monkeypatch.setattr(frame, "peak_flops_per_second", lambda *_: 1e15)
    monkeypatch.setattr(frame, "check_compiler", refuse)
    assert len(frame.measure_frame(1, CPU, *words, compiled=True).rows) == 1
    assert "frame: compile=true needs a C++ compiler" in capsys.readouterr().err


def test_a_profile_of_a_training_step_is_of_its_quantizer(words):
    run = prepare(configuration("gumbel_vq", "recipe=smoke", *words), CPU)
    state = torch.get_rng_state()
    call = quantizer_alone(run)
    assert torch.equal(torch.get_rng_state(), state)
    shares = profiled(call, CPU).shares
    assert any("softmax" in name for name in shares)
    assert not any("convolution" in name for name in shares)


def test_few_images_cannot_tell_whether_the_judge_is_fast():
    section = judge.measure(CPU, images=8)
    assert section.rows[0]["images"] == "8"
    assert section.targets[0].reached is None
