"""What happens between two lines of the log: losses, training PSNR, health of the codes, time.

Values stay on the device until the summary, so that no step waits for the host.
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
        seconds: wall-clock of all steps so far; evaluation, start-up, checkpoints and compilation
            excluded.
        compile_seconds: wall-clock of all compilations so far.
    """

    def __init__(self) -> None:
        self.seconds = self.compile_seconds = 0.0
        self._ms_per_step: list[float] = []
        self._processor_shares: list[float] = []
        self._paused = (0.0, 0.0)
        self.restart()

    def restart(self) -> None:
        """Forgets the steps since the last summary; the clock starts now."""
        self._losses: dict[str, list[Tensor]] = defaultdict(list)
        self._squared_errors: list[Tensor] = []
        self._latent_powers: list[Tensor] = []
        self._quantization_errors: list[Tensor] = []
        self._indices: list[Tensor] = []
        self._started, self._worked = time.perf_counter(), time.process_time()

    def pause(self) -> None:
        """Stops the clocks of the steps: a compilation begins."""
        self._paused = time.perf_counter(), time.process_time()

    def resume(self) -> None:
        """Lets them go on."""
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
        """Adds what one step gave."""
        for name, loss in losses.items():
            self._losses[name].append(loss.detach())
        error = output.reconstruction.detach().float().clamp(-1, 1) - images
        self._squared_errors.append(error.square().mean())
        latent, quantized = output.latent.detach().float(), output.quantized.detach().float()
        self._latent_powers.append(latent.square().mean())
        self._quantization_errors.append((latent - quantized).square().mean())
        self._indices.append(output.indices)

    def summary(self, codebook_sizes: tuple[int, ...]) -> dict[str, float]:
        """Means over the window, and a fresh window.

        Returns:
            Every loss by name, `psnr_db` of the training batches from their pooled error, the
            health of the codes unless there is no codebook, and `ms_per_step`. Health is `usage`
            (fraction of codes that occur in the window) and `dead_codes` (how many do not), means
            over codebooks, and `quantization_snr_db`: power of the latents over that of
            latent - quantized, whatever scaling the method does in between.
        """
        values = {name: _mean(losses) for name, losses in self._losses.items()}
        values["psnr_db"] = _decibels(4.0, _mean(self._squared_errors))
        if codebook_sizes:
            values |= _use(torch.cat(self._indices), codebook_sizes)
            power, error = _mean(self._latent_powers), _mean(self._quantization_errors)
            values["quantization_snr_db"] = _decibels(power, error)
        elapsed = time.perf_counter() - self._started  # the means above waited for the device
        values["ms_per_step"] = 1000 * elapsed / len(self._indices)
        self.seconds += elapsed
        self._ms_per_step.append(values["ms_per_step"])
        worked = time.process_time() - self._worked
        self._processor_shares.append(worked / (elapsed * torch.get_num_threads()))
        self.restart()
        return values

    @property
    def median_ms_per_step(self) -> float | None:
        """Median over the windows of this process, without the first, which warms up."""
        return _median_after_first(self._ms_per_step)

    @property
    def median_processor_share(self) -> float | None:
        """Likewise of processor time over wall-clock and threads; low where other work took it."""
        return _median_after_first(self._processor_shares)


def _median_after_first(windows: list[float]) -> float | None:
    return statistics.median(windows[1:] or windows) if windows else None


def _mean(values: list[Tensor]) -> float:
    return float(torch.stack([value.float() for value in values]).mean())


def _decibels(power: float, error: float) -> float:
    """Infinite without an error, also for a signal of no power; NaN stays NaN."""
    if error == 0:
        return math.inf
    ratio = power / error
    return 10 * math.log10(ratio) if ratio else -math.inf


def _use(indices: Int[Tensor, "n k *spatial"], codebook_sizes: tuple[int, ...]) -> dict[str, float]:
    """Codes that occur, as a fraction, and codes that do not, as a number; means over codebooks."""
    used = [len(torch.unique(indices[:, place])) for place in range(len(codebook_sizes))]
    pairs = list(zip(used, codebook_sizes, strict=True))
    return {
        "usage": statistics.mean(codes / size for codes, size in pairs),
        "dead_codes": float(statistics.mean(size - codes for codes, size in pairs)),
    }
