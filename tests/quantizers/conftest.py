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
from method_examples import EXAMPLES
from torch import Tensor

from quantizers import Quantizer, build, lookup
from quantizers.nearest import chunks

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
