"""One run's training: plain torch, one forward pass a step, the same for every quantizer.

Recipe of the GSQ paper (https://arxiv.org/abs/2412.02632, section 4 and tables 16 to 21), with
these deviations: the discriminator learns on the batch of the generator's step and not on one of
its own, codebooks, norms and biases get no weight decay, and the weight average warms up.

Step t depends on the state before it and on (seed, t) alone: its batch, its augmentation and its
noise are drawn from streams seeded by t. So a checkpoint needs no random state and a resumed run
equals an uninterrupted one.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from bench.conf.schema import BenchConfig
from bench.data import Batch, ImageSet, index_digest, training_batches
from bench.metrics import to_float
from bench.training.adversary import Adversary
from bench.training.checkpoint import load_checkpoint, save_checkpoint
from bench.training.compilation import compile_events, compile_frame
from bench.training.interrupt import Interrupted, StopRequest
from bench.training.log import MetricsLog, Progress
from bench.training.networks import Modules, parameter_groups
from bench.training.norm_drift import NormDrift
from bench.training.seeds import stream_seed
from bench.training.step_window import StepWindow
from bench.training.weight_average import WeightAverage
from models import AutoEncoderOutput
from quantizers.base import deferred_finite_checks


class DivergedError(RuntimeError):
    """A loss became NaN or infinite; the message says at which step."""


class Trainer:
    """Trains one autoencoder from its last checkpoint, or from step 0, to the last step.

    Args:
        config: the run.
        modules: fresh networks; moved to `device`.
        images: training images.
        directory: where checkpoint and log are kept.
        device: where to compute.
        autocast: compute the networks in bfloat16.
        name: heads every line of progress.

    Attributes:
        average: the averaged weights, which are judged.
        step: steps done.
        batches_sha256: chained hash of the indices and pixel sums of all batches so far.
        window: losses, times and health of the codes since the last log.
        norm_drift: of the codes, from the fresh networks on, also in a resumed run.
    """

    def __init__(
        self,
        config: BenchConfig,
        modules: Modules,
        images: ImageSet,
        *,
        directory: Path,
        device: torch.device,
        autocast: bool,
        name: str,
    ) -> None:
        self.config, self.images, self.directory = config, images, directory
        self.device, self.autocast, self.name = device, autocast, name
        # Measured on a CPU: a step of recipe `tiny` takes 0.82 of its time. Not measured on CUDA.
        for module in (modules.autoencoder, modules.discriminator, modules.perceptual):
            if module:
                module.to(device)
            if module and device.type == "cpu":
                module.to(memory_format=torch.channels_last)
        self.autoencoder, self.perceptual = modules.autoencoder.train(), modules.perceptual
        self.adversary = (
            Adversary(modules.discriminator, config.recipe) if modules.discriminator else None
        )
        recipe = config.recipe.optimizer
        self.average = WeightAverage(self.autoencoder, decay=recipe.ema_decay)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.autoencoder, recipe.weight_decay),
            lr=recipe.learning_rate,
            betas=(recipe.betas[0], recipe.betas[1]),
            fused=True,
        )
        self.step = 0
        self.batches_sha256 = ""
        self.window = StepWindow()
        self.norm_drift = NormDrift(self.autoencoder.bottleneck.quantizer)
        self._restore()
        if config.compile:  # after the average was copied, which stays as it is
            compile_frame(modules)

    def run(self) -> None:
        """Trains to the last step.

        Raises:
            DivergedError: a loss is not finite.
            Interrupted: SIGINT or SIGTERM came; the checkpoint holds all steps done.
        """
        progress = Progress(self.name, start=self.step, total=self.config.steps)
        log = MetricsLog(self.directory, start=self.step, tensorboard=self.config.tensorboard)
        self.window.restart()
        try:
            with StopRequest() as stop, self._finite_checks() as check_latents, self._compiling():
                for batch in self._batches():
                    self._train_step(batch)
                    progress.advance()
                    if self._due(self.config.recipe.log_every):
                        check_latents()
                        self._log(log, progress)
                    self._keep(stop, check_latents)
        finally:
            progress.close()
            log.close()

    def _batches(self) -> Iterator[Batch]:
        return training_batches(
            self.images,
            batch_size=self.config.recipe.batch_size,
            start_step=self.step,
            stop_step=self.config.steps,
            data_seed=stream_seed(self.config.seed, "data"),
            augment_seed=stream_seed(self.config.seed, "augment"),
            workers=self.config.data.workers,
            pin_memory=self.device.type == "cuda",
        )

    def _train_step(self, batch: Batch) -> None:
        torch.manual_seed(stream_seed(self.config.seed, "quantizer_noise", self.step))
        images = to_float(batch.images.to(self.device, non_blocking=True))
        with self._precision():
            output = self.autoencoder(images)
            losses = self._losses(images, output)
        losses["loss"] = torch.stack([loss.float() for loss in losses.values()]).sum()
        self._update(self.optimizer, losses["loss"])
        self.autoencoder.bottleneck.quantizer.update()
        if self.adversary:
            with self._precision():
                losses["discriminator"] = self.adversary.loss(images, output.reconstruction)
            self._update(self.adversary.optimizer, losses["discriminator"])
        self.average.update(self.autoencoder, self.step)
        self.window.add(losses, images, output)
        self.batches_sha256 = index_digest(self.batches_sha256, _identity(batch))
        self.step += 1

    def _losses(
        self, images: Float[Tensor, "b 3 H W"], output: AutoEncoderOutput
    ) -> dict[str, Float[Tensor, ""]]:
        """Every term of the autoencoder's loss, weighted; the quantizer's as it gave them."""
        weights, reconstruction = self.config.recipe.losses, output.reconstruction
        losses = {
            "reconstruction": weights.reconstruction_weight
            * F.mse_loss(reconstruction.float(), images)
        }
        if self.perceptual:
            distance = self.perceptual(images, reconstruction).mean()
            losses["perceptual"] = weights.perceptual_weight * distance
        if self.adversary:
            losses["adversarial"] = self.adversary.judge(reconstruction)
        return losses | {f"quantizer/{name}": loss for name, loss in output.losses.items()}

    def _update(self, optimizer: torch.optim.Optimizer, loss: Float[Tensor, ""]) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, self.config.recipe.optimizer.gradient_clip)
        optimizer.step()

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast)

    def _finite_checks(self) -> AbstractContextManager[Callable[[], None]]:
        """On CUDA no step waits for the check of its latents; a CPU refuses them at once."""
        return deferred_finite_checks() if self.device.type == "cuda" else nullcontext(lambda: None)

    def _compiling(self) -> AbstractContextManager[None]:
        """The window's clocks stand still while torch compiles, in whichever step it does."""
        if not self.config.compile:
            return nullcontext()
        return compile_events(start=self.window.pause, end=self.window.resume)

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def _log(self, log: MetricsLog, progress: Progress) -> None:
        """Fetches the window's values, the only time in between that the host waits."""
        values = self.norm_drift.values()
        values |= self.window.summary(self.autoencoder.bottleneck.quantizer.codebook_sizes)
        log.write(self.step, values)
        progress.show(self.step, values)
        bad = [name for name, value in values.items() if value != value or abs(value) == torch.inf]
        if "loss" in bad or "discriminator" in bad:
            raise DivergedError(f"{', '.join(bad)} not finite within the steps before {self.step}")

    def _keep(self, stop: StopRequest, check_latents: Callable[[], None]) -> None:
        """Writes the checkpoint where one is due, and ends a run that was asked to stop."""
        if stop.requested or self._due(self.config.recipe.checkpoint_every):
            check_latents()
            save_checkpoint(self.directory, self._state())
            self.window.restart()
        if stop.requested and self.step != self.config.steps:
            raise Interrupted(f"{self.name} stopped after step {self.step}")

    def _stateful(self) -> dict[str, Any]:
        parts: dict[str, Any] = {
            "autoencoder": self.autoencoder,
            "average": self.average.module,
            "optimizer": self.optimizer,
        }
        if self.adversary:
            parts["discriminator"] = self.adversary.discriminator
            parts["discriminator_optimizer"] = self.adversary.optimizer
        return parts

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "batches_sha256": self.batches_sha256,
            "seconds": self.window.seconds,
            "compile_seconds": self.window.compile_seconds,
            **{name: part.state_dict() for name, part in self._stateful().items()},
        }

    def _restore(self) -> None:
        state = load_checkpoint(self.directory, device=self.device)
        if state is None:
            return
        self.step, self.batches_sha256 = state["step"], state["batches_sha256"]
        self.window.seconds = state["seconds"]
        self.window.compile_seconds = state.get("compile_seconds", 0.0)  # absent in older ones
        for name, part in self._stateful().items():
            part.load_state_dict(state[name])


def _identity(batch: Batch) -> Int64[Tensor, " n"]:
    """What was drawn and, since an index leaves crop and flip open, the sum of its pixels."""
    return torch.cat([batch.indices, batch.images.sum(dim=(1, 2, 3), dtype=torch.int64)])
