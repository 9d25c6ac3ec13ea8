"""Examples of every registered method, and the quantizer that a law is tested on.

A test that takes `example` or `quantizer` runs for all examples. A test marked `law(name)` is
skipped, with the method's own reason, if the class declares that it breaks that law.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from quantizers import Quantizer, build, lookup
from quantizers.nearest import chunks

# Every hyper-parameter of every method appears here, with values that take different branches.
EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "none": [{}, {"latent_channels": 3}],
    "kl": [{}, {"latent_channels": 3, "kl_weight": 1.0}],
    "vq": [
        {"codebook_size": 16},
        {"codebook_size": 5, "latent_channels": 1, "commitment_weight": 1.0},
        {"codebook_size": 2, "latent_channels": 3, "commitment_weight": 0.0},
        {"codebook_size": 7, "latent_channels": 4, "estimator": "rotation"},
        {"codebook_size": 7, "latent_channels": 4, "estimator": "diveq"},
        {"codebook_size": 16, "latent_channels": 3, "init": "kmeans"},
    ],
    "cosine_vq": [
        {"codebook_size": 16},
        {"codebook_size": 7, "latent_channels": 2, "commitment_weight": 1.0},
        {"codebook_size": 7, "latent_channels": 3, "estimator": "rotation"},
        {"codebook_size": 7, "latent_channels": 3, "estimator": "diveq"},
    ],
    "simvq": [
        {"codebook_size": 16},
        {"codebook_size": 5, "latent_channels": 1, "commitment_weight": 1.0},
        {"codebook_size": 7, "latent_channels": 3, "estimator": "rotation"},
        {"codebook_size": 7, "latent_channels": 3, "estimator": "diveq"},
    ],
    "ema_vq": [
        {"codebook_size": 16},
        {"codebook_size": 5, "latent_channels": 1, "decay": 0.0, "smoothing": 0.0},
        {"codebook_size": 9, "latent_channels": 3, "decay": 0.5, "revival_threshold": 0.0},
        {"codebook_size": 200, "revival_threshold": 0.9, "commitment_weight": 1.0},
        {"codebook_size": 7, "latent_channels": 3, "estimator": "rotation"},
        {"codebook_size": 7, "latent_channels": 3, "estimator": "diveq"},
    ],
    "group_vq": [
        {"codebook_size": 16, "codebook_groups": 4},
        {"codebook_size": 6, "codebook_groups": 1, "latent_channels": 1},
        {"codebook_size": 7, "codebook_groups": 7, "commitment_weight": 1.0},
        {"codebook_size": 6, "codebook_groups": 2, "estimator": "rotation"},
        {"codebook_size": 6, "codebook_groups": 2, "estimator": "diveq"},
    ],
    "gsq": [
        {"groups": 2, "group_channels": 4, "codebook_size": 16},
        {"groups": 3, "group_channels": 3, "codebook_size": 7, "shared": False},
        {"groups": 2, "group_channels": 3, "codebook_size": 9, "emit": "raw", "init": "uniform"},
        {"groups": 1, "group_channels": 5, "codebook_size": 12, "spherical": False},
        {"groups": 4, "group_channels": 1, "codebook_size": 6},
        {"groups": 4, "group_channels": 1, "codebook_size": 6, "shared": False},
        {"groups": 2, "group_channels": 2, "codebook_size": 8, "commitment_weight": 1.0},
        {"groups": 2, "group_channels": 2, "codebook_size": 8, "spherical": True},
        {"groups": 3, "group_channels": 2, "codebook_size": 5, "init": "sphere", "emit": "unit"},
        {"groups": 2, "group_channels": 4, "codebook_size": 16, "estimator": "rotation"},
        {"groups": 2, "group_channels": 3, "codebook_size": 9, "estimator": "diveq"},
        {"groups": 2, "group_channels": 3, "codebook_size": 6, "entropy_weight": 0.1},
        {
            "groups": 2,
            "group_channels": 2,
            "codebook_size": 5,
            "shared": False,
            "entropy_weight": 1.0,
            "diversity_weight": 0.5,
            "temperature": 0.1,
        },
    ],
    "fsq": [
        {"levels": (8, 5, 5, 5)},
        {"levels": [3, 5, 4]},
        {"levels": (2, 2, 2)},
        {"levels": (7,)},
        {"levels": (1200, 2)},
        {"levels": (4, 3, 2), "symmetric": True},
        {"levels": (8, 5, 3), "entropy_weight": 0.1, "temperature": 0.1},
        {"levels": (4, 2), "symmetric": True, "entropy_weight": 1.0, "diversity_weight": 0.5},
    ],
    "lfq": [
        {"latent_channels": 6},
        {"latent_channels": 1, "temperature": 1.0, "diversity_weight": 0.5},
        {"latent_channels": 5, "entropy_weight": 0.0, "commitment_weight": 1.0},
        {"latent_channels": 40, "entropy_weight": 0.0},
    ],
    "bsq": [
        {"latent_channels": 6},
        {"latent_channels": 2, "temperature": 0.01, "diversity_weight": 0.5},
        {"latent_channels": 5, "entropy_weight": 0.0, "commitment_weight": 1.0},
        {"latent_channels": 40, "entropy_weight": 0.0},
    ],
    "ifsq": [
        {"levels": (17, 15)},
        {"levels": [3, 5, 7], "alpha": 2.0},
        {"levels": (1201, 3), "alpha": 0.5},
    ],
    "random_code": [
        {"codebook_size": 1024},
        {"codebook_size": 5, "latent_channels": 1},
    ],
    "grouped_lfq": [
        {"groups": 2, "group_channels": 3},
        {"groups": 1, "group_channels": 4, "temperature": 1.0, "diversity_weight": 0.5},
        {"groups": 3, "group_channels": 1, "commitment_weight": 1.0},
        {"groups": 2, "group_channels": 40, "entropy_weight": 0.0},
    ],
    "product_vq": [
        {"groups": 2, "group_channels": 4, "codebook_size": 16},
        {"groups": 3, "group_channels": 1, "codebook_size": 5, "commitment_weight": 1.0},
        {"groups": 1, "group_channels": 3, "codebook_size": 7, "commitment_weight": 0.0},
        {"groups": 2, "group_channels": 3, "codebook_size": 7, "estimator": "rotation"},
        {"groups": 2, "group_channels": 3, "codebook_size": 7, "estimator": "diveq"},
    ],
    "rvq": [
        {"codebook_size": 16, "stages": 2},
        {"codebook_size": 6, "stages": 3, "latent_channels": 3, "shared": False},
        {"codebook_size": 8, "stages": 1, "latent_channels": 1, "commitment_weight": 1.0},
        {"codebook_size": 6, "stages": 2, "latent_channels": 3, "estimator": "rotation"},
        {"codebook_size": 6, "stages": 2, "shared": False, "estimator": "diveq"},
    ],
    "residual_gsq": [
        {"groups": 1, "group_channels": 8, "codebook_size": 16, "stages": 2},
        {"groups": 3, "group_channels": 3, "codebook_size": 6, "stages": 3, "shared": False},
        {
            "groups": 2,
            "group_channels": 2,
            "codebook_size": 8,
            "stages": 1,
            "commitment_weight": 1.0,
        },
    ],
    "ibq": [
        {"codebook_size": 16, "latent_channels": 4},
        {"codebook_size": 2, "latent_channels": 1, "temperature": 1.0, "commitment_weight": 1.0},
        {"codebook_size": 9, "latent_channels": 3, "entropy_weight": 0.0},
    ],
    "gumbel_vq": [
        {"codebook_size": 16, "latent_channels": 4},
        {"codebook_size": 2, "latent_channels": 1, "temperature": 0.5, "kl_weight": 1.0},
    ],
    "e8": [{}, {"groups": 2}],
    "leech": [{}, {"groups": 2}],
    "lgq": [
        {"codebook_size": 16, "latent_channels": 4},
        {"codebook_size": 2, "latent_channels": 1, "temperature": 0.1, "usage_weight": 1.0},
        {"codebook_size": 9, "latent_channels": 3, "peakedness_weight": 1.0},
    ],
    "fvq": [
        {"codebook_size": 16, "bridge_tokens": 4, "bridge_channels": 16},
        {
            "codebook_size": 6,
            "latent_channels": 1,
            "commitment_weight": 1.0,
            "bridge_tokens": 1,
            "bridge_channels": 4,
            "bridge_blocks": 1,
            "bridge_heads": 1,
        },
    ],
    "mgvq": [
        {"groups": 2, "group_channels": 4, "codebook_size": 16},
        {"groups": 1, "group_channels": 2, "codebook_size": 7, "commitment_weight": 1.0},
        {"groups": 3, "group_channels": 3, "codebook_size": 5, "decay": 0.0},
    ],
    "rfsq": [
        {"levels": (4, 4), "stages": 2},
        {"levels": [8, 5, 3], "stages": 3, "initial_scale": 2.0},
        {"levels": (5,), "stages": 1},
    ],
}

LAWS = {
    "discrete": "the output is a function of indices alone, and indices lie in their codebooks",
    "projection": "a code is its own nearest code",
    "gradient": "a gradient of the output reaches the latent",
    "independence": "in eval mode a position's code depends on no other image",
    "precision": "the indices do not depend on the dtype that carries the latent",
    "determinism": "in training mode, too, the same latent gets the same code each time",
    "locality": "in eval mode a position's code depends on the latent alone, not on its place",
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "law(name): a law that a class may list in `breaks`")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "example" in metafunc.fixturenames:
        cases = [(name, parameters) for name, many in EXAMPLES.items() for parameters in many]
        metafunc.parametrize("example", cases, ids=[_title(*case) for case in cases])


def _title(name: str, parameters: dict[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value}' for key, value in parameters.items())})"


@pytest.fixture(scope="session")
def examples() -> dict[str, list[dict[str, Any]]]:
    return EXAMPLES


@pytest.fixture(scope="session")
def laws() -> dict[str, str]:
    return LAWS


@pytest.fixture
def make(example: tuple[str, dict[str, Any]]) -> Callable[[int], Quantizer]:
    """Builds the example from a seed, with codes about as spread out as the latents."""
    name, parameters = example

    def from_seed(seed: int) -> Quantizer:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            quantizer = build(name, **parameters)
            with torch.no_grad():
                for codebook in quantizer.parameters():
                    codebook += 0.5 * torch.randn_like(codebook)
        return quantizer

    return from_seed


@pytest.fixture
def quantizer(
    request: pytest.FixtureRequest,
    example: tuple[str, dict[str, Any]],
    make: Callable[[int], Quantizer],
) -> Quantizer:
    breaks = lookup(example[0]).breaks
    for law in request.node.iter_markers("law"):
        (name,) = law.args
        assert name in LAWS
        if name in breaks:
            pytest.skip(breaks[name])
    quantizer = make(0)
    if "determinism" in breaks:
        quantizer.eval()  # a test that compares two calls must set training mode itself
    return quantizer


@pytest.fixture
def latent(quantizer: Quantizer) -> Tensor:
    """Six images of 3 x 5 positions, about as large as the codes."""
    return latents(quantizer, (6, 3, 5), seed=1)


@pytest.fixture
def sample() -> Callable[..., Tensor]:
    return latents


def latents(
    quantizer: Quantizer, shape: tuple[int, ...], *, seed: int, scale: float = 1.0
) -> Tensor:
    """Normal latents for a batch and spatial axes."""
    batch, *spatial = shape
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(batch, quantizer.latent_channels, *spatial, generator=generator)


@pytest.fixture(scope="session")
def vqp() -> ModuleType:
    """The package vector-quantize-pytorch, the oracle for many methods."""
    with warnings.catch_warnings():  # its dependencies warn about one another on import
        warnings.simplefilter("ignore")
        return pytest.importorskip("vector_quantize_pytorch")


@pytest.fixture(
    scope="module",
    params=["products", *(pytest.param(way, marks=pytest.mark.slow) for way in ("loops", "tree"))],
)
def way_to_search(request: pytest.FixtureRequest) -> Iterator[None]:
    """Searches of any size by matrix products, by compiled loops, or by a tree if possible."""
    way = request.param
    if way != "products" and find_spec("numba") is None:
        pytest.skip("numba is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "_MIN_PRODUCTS", math.inf if way == "products" else 0)
        if way == "tree":
            patch.setattr(
                chunks, "_TREE", [chunks.When(channels, 1, 1) for channels in range(2, 7)]
            )
        yield
