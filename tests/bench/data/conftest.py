import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def write():
    """A function that writes small colour images of noise, in folders made as needed."""

    def write_images(folder, *names, side=40, seed=0):
        for place, name in enumerate(names):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([seed, place])
            Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)

    return write_images
