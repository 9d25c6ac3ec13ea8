"""A resumed run equals an uninterrupted one, and runs differ only in the quantizer."""

import math
import os
import signal

import pytest
import torch
from omegaconf import OmegaConf

from bench.conf.operating_point import resolve
from bench.training.checkpoint import CheckpointError
from bench.training.interrupt import Interrupted
from bench.training.log import MetricsLog
from bench.training.networks import (
    build_modules,
    parameter_counts,
    parameter_groups,
    weights_sha256,
)
from bench.training.trainer import DivergedError, Trainer
from quantizers import NonFiniteLatentError, available
from quantizers.base import deferred_finite_checks


def at_a_rate(name: str) -> tuple[str, str]:
    """Overrides that select a quantizer at a rate it has: 10 bits, or its lowest."""
    settings = OmegaConf.load(f"bench/conf/quantizer/{name}.yaml")
    rates = settings.get("rates", {10: None})
    return f"quantizer={name}", f"rate={10 if 10 in rates else min(rates)}"


def state(trainer: Trainer) -> dict:
    return {
        name: [
            tensor.clone()
            for tensor in torch.utils._pytree.tree_leaves(part.state_dict())
            if isinstance(tensor, torch.Tensor)
        ]
        for name, part in trainer._stateful().items()
    }


def kill_after(trainer: Trainer, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies in the step after `step`, past its last checkpoint."""
    true_step = trainer.step_on

    def dying_step(batch):
        if trainer.step == step:
            raise MemoryError("killed")
        true_step(batch)

    monkeypatch.setattr(trainer, "step_on", dying_step)


@pytest.mark.parametrize("quantizer", available())
def test_a_killed_and_resumed_run_equals_a_straight_one_bit_for_bit(
    trainer, quantizer, monkeypatch
):
    settings = (*at_a_rate(quantizer), "recipe.steps=4", "recipe.checkpoint_every=2")
    straight = trainer(*settings, directory="straight")
    straight.run()
    killed = trainer(*settings)
    kill_after(killed, 3, monkeypatch)
    with pytest.raises(MemoryError):
        killed.run()
    resumed = trainer(*settings)
    assert resumed.step == 2
    torch.rand(17)  # whatever happened to the global generator in between does not matter
    resumed.run()
    assert resumed.batches_sha256 == straight.batches_sha256
    for name, tensors in state(straight).items():
        again = state(resumed)[name]
        assert len(tensors) == len(again) > 0
        assert all(torch.equal(a, b) for a, b in zip(tensors, again, strict=True)), name


def test_the_log_of_a_resumed_run_has_every_step_once(trainer, tmp_path, monkeypatch):
    settings = ("recipe.steps=8", "recipe.checkpoint_every=4", "recipe.log_every=1")
    trainer(*settings, directory="straight").run()
    killed = trainer(*settings)
    kill_after(killed, 6, monkeypatch)
    with pytest.raises(MemoryError):
        killed.run()
    trainer(*settings).run()
    lines, straight = (MetricsLog.lines(tmp_path / name) for name in ("run", "straight"))
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert {"loss", "psnr_db", "usage", "discriminator", "ms_per_step"} <= set(lines[0])
    for key in ("loss", "quantization_snr_db", "code_norm_drift", "dead_codes"):
        assert [line[key] for line in lines] == [line[key] for line in straight], key


def test_training_moves_frame_codebook_discriminator_and_average(trainer):
    run = trainer("quantizer=gsq")
    before = state(run)
    run.run()
    after = state(run)
    for name in ("autoencoder", "discriminator", "average"):
        moved = [not torch.equal(a, b) for a, b in zip(before[name], after[name], strict=True)]
        assert sum(moved) > 0.9 * len(moved), name
    assert run.autoencoder.bottleneck.quantizer.codebook.grad is not None


def test_interrupt_keeps_a_checkpoint_of_the_last_whole_step(trainer, monkeypatch):
    run = trainer("recipe.steps=50", "recipe.checkpoint_every=50")
    true_step = run.step_on

    def interrupting_step(batch):
        true_step(batch)
        if run.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(run, "step_on", interrupting_step)
    with pytest.raises(Interrupted, match="after step 3"):
        run.run()
    assert trainer("recipe.steps=50", "recipe.checkpoint_every=50").step == 3


@pytest.mark.parametrize(("log_every", "error"), [(1, DivergedError), (4, NonFiniteLatentError)])
def test_a_loss_that_is_not_finite_ends_the_run(trainer, log_every, error):
    """Seen at the next line of the log, or by the quantizer in the step after."""
    overflow = "recipe.losses.reconstruction_weight=1e39"
    with pytest.raises(error):
        trainer(overflow, f"recipe.log_every={log_every}").run()


def test_deferred_checks_end_the_run_before_anything_is_kept(trainer, tmp_path, monkeypatch):
    weight = "recipe.losses.reconstruction_weight=1e39"
    run = trainer("quantizer=fsq", weight, "recipe.log_every=4")  # a search would refuse NaN itself
    monkeypatch.setattr(run, "_finite_checks", deferred_finite_checks)
    with pytest.raises(NonFiniteLatentError, match="of the last 2 forward passes"):
        run.run()
    assert run.step == 2
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("quantizer", available())
def test_on_a_gpu_no_step_makes_the_host_wait(trainer, quantizer):
    run = trainer(*at_a_rate(quantizer), "precision=bfloat16", device="cuda")
    first, second, *_ = run._batches()
    assert first.images.is_pinned()
    with deferred_finite_checks():
        run.step_on(first)  # builds kernels and the state of the optimizers
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            run.step_on(second)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_on_a_cpu_every_convolution_works_on_channels_last(trainer):
    run = trainer()
    layouts = []
    for network in (run.autoencoder, run.adversary.discriminator):
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d) and module.out_channels > 1:
                module.register_forward_hook(
                    lambda module, inputs, output: layouts.append(
                        output.is_contiguous(memory_format=torch.channels_last)
                    )
                )
    run.step_on(next(run._batches()))
    assert layouts
    assert all(layouts)


def test_layout_and_fused_optimizer_move_no_loss_beyond_rounding(trainer, monkeypatch):
    """At a small learning rate: at the recipe's, Adam turns rounding into steps of full size."""
    slow = (
        "recipe.optimizer.learning_rate=1e-5",
        "recipe.optimizer.discriminator_learning_rate=1e-5",
        "recipe.log_every=4",
        "quantizer=fsq",
    )
    run, plain = trainer(*slow), trainer(*slow, directory="plain")
    for part in (plain.autoencoder, plain.adversary.discriminator, plain.average.module):
        part.to(memory_format=torch.contiguous_format)
    for group in plain.optimizer.param_groups + plain.adversary.optimizer.param_groups:
        group["fused"] = False
    for step_run, step_plain in zip(run._batches(), plain._batches(), strict=True):
        run.step_on(step_run)
        plain.step_on(step_plain)
    for name, losses in run.step_window._losses.items():
        torch.testing.assert_close(losses, plain.step_window._losses[name], rtol=1e-5, atol=1e-7)


def test_a_damaged_checkpoint_says_what_to_remove(trainer, tmp_path):
    trainer().run()
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt cannot be read"):
        trainer()


def test_bfloat16_autocast_trains_with_finite_losses(trainer, tmp_path):
    trainer("precision=bfloat16").run()
    lines = MetricsLog.lines(tmp_path / "run")
    assert all(math.isfinite(value) for line in lines for value in line.values())


def test_runs_without_a_discriminator(trainer):
    run = trainer("recipe.discriminator.name=none")
    run.run()
    assert run.step == 4


def test_frame_and_discriminator_start_equal_for_every_quantizer(configure):
    def start(name: str, *overrides: str) -> tuple[str, str]:
        config = configure(*at_a_rate(name), *overrides)
        modules = build_modules(config, resolve(config.quantizer, config.rate))
        frame = weights_sha256(modules.autoencoder.encoder, modules.autoencoder.decoder)
        return frame, weights_sha256(modules.discriminator)

    starts = {start(name) for name in available()}
    assert len(starts) == 1
    other = start("gsq", "seed=1")
    assert all(a != b for a, b in zip(other, starts.pop(), strict=True))


def test_codebooks_norms_and_biases_get_no_weight_decay(configure):
    config = configure("quantizer=vq")
    autoencoder = build_modules(config, resolve(config.quantizer, config.rate)).autoencoder
    decayed, free = parameter_groups(autoencoder, 0.05)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.05, 0.0)
    names = {id(p): name for name, p in autoencoder.named_parameters()}
    assert {names[id(p)] for p in free["params"]} >= {"bottleneck.quantizer.codebook"}
    assert all(names[id(p)].endswith("weight") for p in decayed["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(names)


def test_adapters_and_codebook_count_as_parameters_of_the_quantizer(configure):
    config = configure("quantizer=vq")
    counts = parameter_counts(build_modules(config, resolve(config.quantizer, config.rate)))
    features, latent, codes = 8, 8, 1024
    assert counts["quantizer"] == codes * latent + 2 * features * latent + latent + features
