"""What happens between two lines of the log: losses, training PSNR, codes used, time.

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


class StepWindow:
    """Collects the steps since the last summary.

    Attributes:
        seconds: wall-clock of all steps so far; evaluation, start-up and checkpoints excluded.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._ms_per_step: list[float] = []
        self._processor_shares: list[float] = []
        self.restart()

    def restart(self) -> None:
        """Forgets the steps since the last summary; the clock starts now."""
        self._losses: dict[str, list[Tensor]] = defaultdict(list)
        self._squared_errors: list[Tensor] = []
        self._indices: list[Tensor] = []
        self._started, self._worked = time.perf_counter(), time.process_time()

    def add(
        self,
        losses: Mapping[str, Float[Tensor, ""]],
        images: Float[Tensor, "b 3 H W"],
        reconstruction: Float[Tensor, "b 3 H W"],
        indices: Int[Tensor, "b k h w"],
    ) -> None:
        """Adds what one step gave."""
        for name, loss in losses.items():
            self._losses[name].append(loss.detach())
        error = reconstruction.float().clamp(-1, 1) - images
        self._squared_errors.append(error.square().mean())
        self._indices.append(indices)

    def summary(self, codebook_sizes: tuple[int, ...]) -> dict[str, float]:
        """Means over the window, and a fresh window.

        Returns:
            Every loss by name, `psnr_db` of the training batches from their pooled error, `usage`
            (fraction of codes that occur in the window, mean over codebooks; absent without any),
            and `ms_per_step`.
        """
        values = {name: _mean(losses) for name, losses in self._losses.items()}
        error = _mean(self._squared_errors)
        values["psnr_db"] = 10 * math.log10(4 / error) if error else math.inf
        if codebook_sizes:
            values["usage"] = _usage(torch.cat(self._indices), codebook_sizes)
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


def _usage(indices: Int[Tensor, "n k *spatial"], codebook_sizes: tuple[int, ...]) -> float:
    used = [
        len(torch.unique(indices[:, codebook])) / size
        for codebook, size in enumerate(codebook_sizes)
    ]
    return statistics.mean(used)
