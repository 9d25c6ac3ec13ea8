"""The steps between two lines of the log: losses, training PSNR, health of the codes, time.

Values stay on the device until the summary, so no step synchronizes.
"""

import math
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models import AutoEncoderOutput


class StepWindow:
    """Collects the steps since the last summary.

    Attributes:
        seconds: wall-clock time of all steps so far, without evaluation, start-up, checkpoints and
            compilation.
        compile_seconds: wall-clock time of all compilations so far.
    """

    def __init__(self) -> None:
        self.seconds = self.compile_seconds = 0.0
        self._ms_per_step: list[float] = []
        self._processor_shares: list[float] = []
        self._paused = (0.0, 0.0)
        self.restart()

    def restart(self) -> None:
        """Forgets the steps since the last summary and starts the clock."""
        self._losses: dict[str, list[Tensor]] = defaultdict(list)
        self._squared_errors: list[Tensor] = []
        self._latent_powers: list[Tensor] = []
        self._quantization_errors: list[Tensor] = []
        self._indices: list[Tensor] = []
        self._started, self._worked = time.perf_counter(), time.process_time()

    def pause(self) -> None:
        """Stops the clocks: a compilation begins."""
        self._paused = time.perf_counter(), time.process_time()

    def resume(self) -> None:
        """Starts the clocks again: the compilation is over."""
        started, worked = self._paused
        seconds = time.perf_counter() - started
        self._started += seconds
        self._worked += time.process_time() - worked
        self.compile_seconds += seconds

    def add(
        self,
        losses: Mapping[str, Float[Tensor, ""]],
        images: Float[Tensor, "b 3 H W"],
        output: AutoEncoderOutput,
    ) -> None:
        """Adds one step."""
        for name, loss in losses.items():
            self._losses[name].append(loss.detach())
        error = output.reconstruction.detach().float().clamp(-1, 1) - images
        self._squared_errors.append(error.square().mean())
        latent, quantized = output.latent.detach().float(), output.quantized.detach().float()
        self._latent_powers.append(latent.square().mean())
        self._quantization_errors.append((latent - quantized).square().mean())
        self._indices.append(output.indices)

    def summary(self, codebook_sizes: tuple[int, ...]) -> dict[str, float]:
        """Means over the window; starts a new one.

        Returns:
            Every loss by name; `psnr_db` of the training batches, from their pooled error;
            `ms_per_step`; and the health of the codes, if there is a codebook. Health is `usage`
            (fraction of codes that occur in the window) and `dead_codes` (number of codes that do
            not), means over codebooks, and `quantization_snr_db`: power of the latents over power
            of latent - quantized, whatever scaling the method does in between.
        """
        values = {name: _mean(losses) for name, losses in self._losses.items()}
        values["psnr_db"] = _decibels(4.0, _mean(self._squared_errors))
        if codebook_sizes:
            values |= _use(torch.cat(self._indices), codebook_sizes)
            power, error = _mean(self._latent_powers), _mean(self._quantization_errors)
            values["quantization_snr_db"] = _decibels(power, error)
        elapsed = time.perf_counter() - self._started  # the means above synchronized
        values["ms_per_step"] = 1000 * elapsed / len(self._indices)
        self.seconds += elapsed
        self._ms_per_step.append(values["ms_per_step"])
        worked = time.process_time() - self._worked
        self._processor_shares.append(worked / (elapsed * torch.get_num_threads()))
        self.restart()
        return values

    @property
    def median_ms_per_step(self) -> float | None:
        """Median over the windows of this process, without the first, which is warm-up."""
        return _median_after_first(self._ms_per_step)

    @property
    def median_processor_share(self) -> float | None:
        """Likewise, processor time over wall-clock time and threads; low if other work ran too."""
        return _median_after_first(self._processor_shares)


def _median_after_first(windows: list[float]) -> float | None:
    return statistics.median(windows[1:] or windows) if windows else None


def _mean(values: list[Tensor]) -> float:
    return float(torch.stack([value.float() for value in values]).mean())


def _decibels(power: float, error: float) -> float:
    """Infinite if the error is 0, even if the power is 0; NaN stays NaN."""
    if error == 0:
        return math.inf
    ratio = power / error
    return 10 * math.log10(ratio) if ratio else -math.inf


def _use(indices: Int[Tensor, "n k *spatial"], codebook_sizes: tuple[int, ...]) -> dict[str, float]:
    """Fraction of codes that occur and number of codes that do not; means over codebooks."""
    used = [len(torch.unique(indices[:, book])) for book in range(len(codebook_sizes))]
    pairs = list(zip(used, codebook_sizes, strict=True))
    return {
        "usage": statistics.mean(codes / size for codes, size in pairs),
        "dead_codes": float(statistics.mean(size - codes for codes, size in pairs)),
    }
