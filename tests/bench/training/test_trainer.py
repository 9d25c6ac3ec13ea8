"""A resumed run equals an uninterrupted one, and runs differ only in the quantizer."""

import math
import os
import shutil
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

WITHOUT_DISCRIMINATOR = (
    "~recipe.discriminator.channels",
    "~recipe.discriminator.layers",
    "recipe.discriminator.name=none",
)


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


@pytest.mark.parametrize("quantizer", available())
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    trainer, quantizer, tmp_path, monkeypatch
):
    settings = (*at_a_rate(quantizer), "recipe.steps=3", "recipe.checkpoint_every=1")
    straight = trainer(*settings, directory="straight")
    step_on = straight.step_on

    def copying_step(batch):
        if straight.step == 1:
            shutil.copytree(tmp_path / "straight", tmp_path / "resumed")
        step_on(batch)

    monkeypatch.setattr(straight, "step_on", copying_step)
    straight.run()
    resumed = trainer(*settings, directory="resumed")
    assert resumed.step == 1
    torch.rand(17)  # draws from the global generator in between do not matter
    resumed.run()
    assert resumed.batches_sha256 == straight.batches_sha256
    for name, tensors in state(straight).items():
        others = state(resumed)[name]
        assert len(tensors) == len(others) > 0
        assert all(map(torch.equal, tensors, others)), name


def test_a_killed_and_resumed_run_logs_every_step_once(trainer, tmp_path, monkeypatch):
    settings = ("recipe.steps=4", "recipe.checkpoint_every=2", "recipe.log_every=1")
    trainer(*settings, directory="straight").run()
    killed = trainer(*settings)
    step_on = killed.step_on

    def dying_step(batch):
        if killed.step == 3:  # past the last checkpoint
            raise MemoryError("killed")
        step_on(batch)

    monkeypatch.setattr(killed, "step_on", dying_step)
    with pytest.raises(MemoryError):
        killed.run()
    trainer(*settings).run()
    lines, straight = (MetricsLog.lines(tmp_path / name) for name in ("run", "straight"))
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
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


def test_an_interrupt_leaves_a_checkpoint_of_the_last_complete_step(trainer, monkeypatch):
    run = trainer("recipe.steps=50", "recipe.checkpoint_every=50")
    step_on = run.step_on

    def interrupting_step(batch):
        step_on(batch)
        if run.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(run, "step_on", interrupting_step)
    with pytest.raises(Interrupted, match="after step 3"):
        run.run()
    assert trainer("recipe.steps=50", "recipe.checkpoint_every=50").step == 3


@pytest.mark.parametrize(("log_every", "error"), [(1, DivergedError), (4, NonFiniteLatentError)])
def test_a_loss_that_is_not_finite_ends_the_run(trainer, log_every, error):
    """The next line of the log shows it, or the quantizer in the step after."""
    overflow = "recipe.losses.reconstruction_weight=1e39"
    with pytest.raises(error):
        trainer(overflow, f"recipe.log_every={log_every}").run()


def test_deferred_checks_end_the_run_before_anything_is_saved(trainer, tmp_path, monkeypatch):
    weight = "recipe.losses.reconstruction_weight=1e39"
    run = trainer("quantizer=fsq", weight, "recipe.log_every=4")  # a search would itself refuse NaN
    monkeypatch.setattr(run, "_finite_checks", deferred_finite_checks)
    with pytest.raises(NonFiniteLatentError, match="of the last 2 forward passes"):
        run.run()
    assert run.step == 2
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("quantizer", available())
def test_on_a_gpu_no_step_synchronizes(trainer, quantizer):
    run = trainer(*at_a_rate(quantizer), "precision=bfloat16", device="cuda")
    first, second, *_ = run.batches()
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
    run.step_on(next(run.batches()))
    assert layouts
    assert all(layouts)


def test_layout_and_fused_optimizer_change_losses_only_by_rounding(trainer, monkeypatch):
    """At a small learning rate; at the recipe's, Adam turns rounding into steps of full size."""
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
    for step_run, step_plain in zip(run.batches(), plain.batches(), strict=True):
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


def test_a_run_needs_no_discriminator(trainer, tmp_path):
    trainer(*WITHOUT_DISCRIMINATOR).run()
    assert "discriminator" not in MetricsLog.lines(tmp_path / "run")[-1]


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
