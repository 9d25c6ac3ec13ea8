import math
from dataclasses import replace

import pytest
import torch

from bench.training.step_window import StepWindow
from models import AutoEncoderOutput


def output(codes: torch.Tensor, *, error: float = 0.1, scale: float = 1.0, step: float = 0.5):
    """Output for a grey image: pixels off by `error`, latents of size `scale` off by `step`."""
    latent = torch.full((1, 2, *codes.shape[2:]), scale)
    reconstruction = torch.zeros(1, 3, 2, 2) + error
    return AutoEncoderOutput(reconstruction, latent, latent + step, codes, {})


def add(window: StepWindow, loss: float, indices: list[list[int]], **latent: float) -> None:
    codes = torch.tensor(indices).T[None, :, :, None]
    window.add({"loss": torch.tensor(loss)}, torch.zeros(1, 3, 2, 2), output(codes, **latent))


def test_summary_averages_losses_and_counts_codes_over_the_window():
    window = StepWindow()
    add(window, 1.0, [[0, 1], [0, 1]])
    add(window, 3.0, [[1, 1], [2, 1]])
    values = window.summary((4, 2))
    assert values["loss"] == 2.0
    assert values["usage"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert values["psnr_db"] == pytest.approx(10 * math.log10(4 / 0.01), abs=1e-4)


def test_a_summary_starts_a_new_window():
    window = StepWindow()
    add(window, 1.0, [[0]])
    window.summary((2,))
    add(window, 5.0, [[1]])
    values = window.summary((2,))
    assert values["loss"] == 5.0
    assert values["usage"] == 0.5


def test_a_continuous_latent_has_no_health_of_codes():
    window = StepWindow()
    none = torch.zeros(1, 0, 1, 1, dtype=torch.int64)
    window.add({"loss": torch.tensor(1.0)}, torch.zeros(1, 3, 2, 2), output(none, error=0))
    values = window.summary(())
    assert values.keys() == {"loss", "psnr_db", "ms_per_step"}
    assert values["psnr_db"] == math.inf


def test_dead_codes_do_not_occur_in_the_window():
    window = StepWindow()
    add(window, 1.0, [[0, 1], [0, 1]])
    add(window, 3.0, [[1, 1], [2, 1]])
    assert window.summary((8, 2))["dead_codes"] == (5 + 1) / 2


def test_quantization_snr_pools_latents_and_errors_before_the_ratio():
    window = StepWindow()
    add(window, 1.0, [[0]], scale=1.0, step=0.1)
    add(window, 1.0, [[0]], scale=3.0, step=0.3)
    snr_db = window.summary((2,))["quantization_snr_db"]
    assert snr_db == pytest.approx(10 * math.log10((1 + 9) / (0.01 + 0.09)), abs=1e-4)
    add(window, 1.0, [[0]], scale=1.0, step=10.0)
    assert window.summary((2,))["quantization_snr_db"] == pytest.approx(-20, abs=1e-4)


@pytest.mark.parametrize(
    ("scale", "step", "snr_db"),
    [(1.0, 0.0, math.inf), (0.0, 1.0, -math.inf), (1.0, math.inf, -math.inf)],
)
def test_quantization_snr_at_its_limits(scale, step, snr_db):
    window = StepWindow()
    add(window, 1.0, [[0]], scale=scale, step=step)
    assert window.summary((2,))["quantization_snr_db"] == snr_db


def test_quantization_snr_is_computed_in_float32():
    """Squares in bfloat16 would be off by up to 0.4 %, and a float16 overflows at 256."""
    window = StepWindow()
    half = output(torch.zeros(1, 1, 1, 1, dtype=torch.int64), scale=300.0, step=30.0)
    half = replace(half, latent=half.latent.half(), quantized=half.quantized.half())
    window.add({"loss": torch.tensor(1.0)}, torch.zeros(1, 3, 2, 2), half)
    assert window.summary((2,))["quantization_snr_db"] == pytest.approx(20, abs=1e-4)


def test_no_step_synchronizes_with_the_device(monkeypatch):
    step = output(torch.zeros(1, 1, 1, 1, dtype=torch.int64))
    for name in ("item", "tolist", "numpy", "cpu", "__float__", "__int__", "__bool__"):
        monkeypatch.setattr(torch.Tensor, name, None, raising=False)
    StepWindow().add({"loss": torch.tensor(1.0)}, torch.zeros(1, 3, 2, 2), step)


def test_a_step_keeps_no_graph():
    window, codes = StepWindow(), torch.zeros(1, 1, 1, 1, dtype=torch.int64)
    step = output(codes)
    step = replace(step, latent=step.latent.requires_grad_())
    window.add({"loss": torch.tensor(1.0)}, torch.zeros(1, 3, 2, 2), step)
    values = window._latent_powers + window._quantization_errors
    assert len(values) == 2
    assert not any(value.requires_grad for value in values)


def test_the_median_skips_the_first_window_and_the_sum_does_not():
    window = StepWindow()
    assert window.median_ms_per_step is None
    for _ in range(3):
        add(window, 1.0, [[0]])
        window.summary((2,))
    window._ms_per_step = [100.0, 2.0, 4.0]
    assert window.median_ms_per_step == 3.0
    assert window.seconds > 0


def test_the_share_counts_the_processor_time_of_all_threads(monkeypatch):
    clocks = {"perf_counter": iter([0.0, 4.0, 4.0]), "process_time": iter([0.0, 6.0, 6.0])}
    for name, times in clocks.items():
        monkeypatch.setattr(f"time.{name}", times.__next__)
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    window = StepWindow()
    add(window, 1.0, [[0]])
    window.summary((2,))
    assert window.median_processor_share == 6 / (4 * 2)
