import math

import pytest
import torch

from bench.window import StepWindow


def add(window: StepWindow, loss: float, indices: list[list[int]], error: float = 0.1) -> None:
    images = torch.zeros(1, 3, 2, 2)
    codes = torch.tensor(indices).T[None, :, :, None]
    window.add({"loss": torch.tensor(loss)}, images, images + error, codes)


def test_summary_averages_losses_and_counts_codes_over_the_window():
    window = StepWindow()
    add(window, 1.0, [[0, 1], [0, 1]])
    add(window, 3.0, [[1, 1], [2, 1]])
    values = window.summary((4, 2))
    assert values["loss"] == 2.0
    assert values["usage"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert values["psnr_db"] == pytest.approx(10 * math.log10(4 / 0.01), abs=1e-4)


def test_summary_starts_afresh():
    window = StepWindow()
    add(window, 1.0, [[0]])
    window.summary((2,))
    add(window, 5.0, [[1]])
    values = window.summary((2,))
    assert values["loss"] == 5.0
    assert values["usage"] == 0.5


def test_a_continuous_latent_has_no_usage():
    window = StepWindow()
    window.add(
        {"loss": torch.tensor(1.0)},
        torch.zeros(1, 3, 2, 2),
        torch.zeros(1, 3, 2, 2),
        torch.zeros(1, 0, 1, 1, dtype=torch.int64),
    )
    values = window.summary(())
    assert "usage" not in values
    assert values["psnr_db"] == math.inf


def test_time_skips_the_first_window_and_sums_all():
    window = StepWindow()
    assert window.median_ms_per_step is None
    for _ in range(3):
        add(window, 1.0, [[0]])
        window.summary((2,))
    window._ms_per_step = [100.0, 2.0, 4.0]
    assert window.median_ms_per_step == 3.0
    assert window.seconds > 0


def test_share_is_the_processor_time_of_all_threads(monkeypatch):
    clocks = {"perf_counter": iter([0.0, 4.0, 4.0]), "process_time": iter([0.0, 6.0, 6.0])}
    for name, times in clocks.items():
        monkeypatch.setattr(f"time.{name}", times.__next__)
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    window = StepWindow()
    add(window, 1.0, [[0]])
    window.summary((2,))
    assert window.median_processor_share == 6 / (4 * 2)
