"""Trains one run: plain torch, one forward pass per step, the same for every quantizer.

Recipe of the GSQ paper (https://arxiv.org/abs/2412.02632, section 4 and tables 16 to 21), with
these deviations: the discriminator learns from the generator's batch, not from a batch of its own;
codebooks, norms and biases get no weight decay; the weight average warms up.

Step t depends only on the state before it and on (seed, t): its batch, augmentation and noise come
from random streams seeded by t. So a checkpoint needs no random state, and a resumed run equals an
uninterrupted one.
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
from bench.training.networks import Modules, adamw
from bench.training.norm_drift import NormDrift
from bench.training.seeds import stream_seed
from bench.training.step_window import StepWindow
from bench.training.weight_average import WeightAverage
from models import AutoEncoderOutput
from quantizers.base import deferred_finite_checks


class DivergedError(RuntimeError):
    """A loss became NaN or infinite; the message says at which step."""


class Trainer:
    """Trains one autoencoder from step 0; `restore` continues from its last checkpoint.

    Args:
        config: the run.
        modules: fresh networks; moved to `device`.
        images: training images.
        directory: folder of checkpoint and log.
        device: where to compute.
        autocast: whether the networks compute in bfloat16.
        name: starts every line of progress.

    Attributes:
        average: the averaged weights, which are judged.
        step: steps done.
        batches_sha256: chained hash of the indices and pixel sums of all batches so far.
        step_window: losses, times and health of the codes since the last log.
        norm_drift: of the codes since step 0, also in a resumed run.
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
        self.step, self.batches_sha256, self.step_window = 0, "", StepWindow()
        # The order matters. Optimizers and average refer to weights on their device, the drift
        # starts at step 0 and not at the checkpoint, and the average is not compiled.
        modules.move_to(device)
        self.autoencoder, self.perceptual = modules.autoencoder.train(), modules.perceptual
        settings = config.recipe.optimizer
        self.optimizer = adamw(self.autoencoder, settings, settings.learning_rate)
        self.adversary = (
            Adversary(modules.discriminator, config.recipe) if modules.discriminator else None
        )
        self.average = WeightAverage(self.autoencoder, decay=settings.ema_decay)
        self.norm_drift = NormDrift(self.autoencoder.bottleneck.quantizer)
        if config.compile:
            compile_frame(modules)

    def restore(self) -> None:
        """Continues from the checkpoint in `directory`, if there is one.

        Raises:
            CheckpointError: the checkpoint is damaged.
        """
        state = load_checkpoint(self.directory, device=self.device)
        if state is None:
            return
        self.step, self.batches_sha256 = state["step"], state["batches_sha256"]
        self.step_window.seconds = state["seconds"]
        self.step_window.compile_seconds = state.get("compile_seconds", 0.0)  # absent in older ones
        for name, part in self._stateful().items():
            part.load_state_dict(state[name])

    def run(self) -> None:
        """Trains to the last step.

        Raises:
            DivergedError: a loss is not finite.
            Interrupted: SIGINT or SIGTERM came; the checkpoint holds all steps done.
        """
        progress = Progress(self.name, start=self.step, total=self.config.steps)
        log = MetricsLog(self.directory, start=self.step, tensorboard=self.config.tensorboard)
        self.step_window.restart()
        try:
            with StopRequest() as stop, self._finite_checks() as check_latents, self._compiling():
                for batch in self.batches():
                    self.step_on(batch)
                    progress.advance()
                    if self._due(self.config.recipe.log_every):
                        check_latents()
                        self._log(log, progress)
                    self._save(stop, check_latents)
        finally:
            progress.close()
            log.close()

    def step_on(self, batch: Batch) -> None:
        """Does one training step, without log and checkpoint."""
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
                losses["discriminator"] = self.adversary.discriminator_loss(
                    images, output.reconstruction
                )
            self._update(self.adversary.optimizer, losses["discriminator"])
        self.average.update(self.autoencoder, self.step)
        self.step_window.add(losses, images, output)
        self.batches_sha256 = index_digest(self.batches_sha256, _identity(batch))
        self.step += 1

    def batches(self) -> Iterator[Batch]:
        """The batches of the steps that are not done yet."""
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

    def _losses(
        self, images: Float[Tensor, "b 3 H W"], output: AutoEncoderOutput
    ) -> dict[str, Float[Tensor, ""]]:
        """Every weighted term of the autoencoder's loss; the quantizer weights its own."""
        weights, reconstruction = self.config.recipe.losses, output.reconstruction
        losses = {
            "reconstruction": weights.reconstruction_weight
            * F.mse_loss(reconstruction.float(), images)
        }
        if self.perceptual:
            distance = self.perceptual(images, reconstruction).mean()
            losses["perceptual"] = weights.perceptual_weight * distance
        if self.adversary:
            losses["adversarial"] = self.adversary.generator_loss(reconstruction)
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
        """On CUDA checks of latents are deferred, so no step synchronizes; a CPU checks at once."""
        return deferred_finite_checks() if self.device.type == "cuda" else nullcontext(lambda: None)

    def _compiling(self) -> AbstractContextManager[None]:
        """Stops the clocks of the step window while torch compiles, in whichever step that is."""
        if not self.config.compile:
            return nullcontext()
        return compile_events(start=self.step_window.pause, end=self.step_window.resume)

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def _log(self, log: MetricsLog, progress: Progress) -> None:
        """Logs the step window. Between two logs, nothing else synchronizes with the device."""
        values = self.norm_drift.values()
        values |= self.step_window.summary(self.autoencoder.bottleneck.quantizer.codebook_sizes)
        log.write(self.step, values)
        progress.show(self.step, values)
        bad = [name for name, value in values.items() if value != value or abs(value) == torch.inf]
        if "loss" in bad or "discriminator" in bad:
            raise DivergedError(f"{', '.join(bad)} not finite within the steps before {self.step}")

    def _save(self, stop: StopRequest, check_latents: Callable[[], None]) -> None:
        """Writes a checkpoint if one is due, and ends a run that was asked to stop."""
        if stop.requested or self._due(self.config.recipe.checkpoint_every):
            check_latents()
            save_checkpoint(self.directory, self._state())
            self.step_window.restart()
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
            "seconds": self.step_window.seconds,
            "compile_seconds": self.step_window.compile_seconds,
            **{name: part.state_dict() for name, part in self._stateful().items()},
        }


def _identity(batch: Batch) -> Int64[Tensor, " n"]:
    """Indices of the images, and their pixel sums: an index does not tell crop and flip."""
    return torch.cat([batch.indices, batch.images.sum(dim=(1, 2, 3), dtype=torch.int64)])
