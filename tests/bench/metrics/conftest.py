from collections.abc import Callable

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor

Crops = Callable[..., Tensor]


@pytest.fixture(scope="session")
def photographs() -> Crops:
    """Random crops of three photographs that lie in scikit-image's wheel, as uint8 (n, 3, s, s)."""
    from skimage import data

    pictures = [data.astronaut(), data.coffee(), data.chelsea()]

    def crops(count: int, size: int) -> Tensor:
        rng = np.random.default_rng(0)
        cut = []
        for position in range(count):
            picture = pictures[position % len(pictures)]
            top = rng.integers(picture.shape[0] - size + 1)
            left = rng.integers(picture.shape[1] - size + 1)
            cut.append(picture[top : top + size, left : left + size])
        return torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).contiguous()

    return crops


@pytest.fixture
def as_users_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switches the run-time shape checks off, so that a function's own errors are seen."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
