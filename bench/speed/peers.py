"""Searches for the nearest code, ours and those of other libraries, behind one call.

Each gets what suits it best: numpy arrays without a copy, no check of its input, no gradient.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quantizers.nearest import nearest

OURS = "ours"
PEER = "vector-quantize-pytorch"
PACKAGES = ("numba", "scikit-learn", "faiss-cpu", PEER, "flash-kmeans", "triton")

_WARM_SIZES = (2048, 2048), (1 << 16, 1 << 15)  # the second for a tree, of up to four channels

Call = Callable[[], Any]


@dataclass(frozen=True)
class Search:
    """One way to find the nearest codes.

    Attributes:
        name: heads a column.
        prepare: takes latents and codes and gives the call to time; its result is one index a row.
            Raises ImportError where the library is not installed.
        copies: of a float32 matrix of all latents by all codes that the call holds at once.
        warm_sizes: latents and codes of the calls after which none has anything left to compile.
    """

    name: str
    prepare: Callable[[Tensor, Tensor], Call]
    copies: int
    warm_sizes: tuple[tuple[int, int], ...] = ((2048, 2048),)


def searches(device: torch.device) -> list[Search]:
    """All that can run on a device, ours first."""
    everywhere = [
        Search(OURS, lambda latents, codes: lambda: nearest(latents, codes), 0, _WARM_SIZES),
        Search("cdist + argmin", _cdist, 1),
        Search("addmm + argmin", _addmm, 1),
        Search(PEER, _vector_quantize, 4),  # scores, and a one-hot matrix in int64 and in float32
    ]
    on_cpu = [Search("scikit-learn", _scikit_learn, 0), Search("FAISS flat", _faiss, 0)]
    on_cuda = [Search("flash-kmeans", _flash_kmeans, 0)]
    return everywhere + (on_cuda if device.type == "cuda" else on_cpu)


def vector_quantize_pytorch() -> ModuleType:
    """The library of most counterparts; its dependencies warn about one another when imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module("vector_quantize_pytorch")


def versions() -> dict[str, str]:
    """Of the other libraries that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _cdist(latents: Float[Tensor, "n d"], codes: Float[Tensor, "v d"]) -> Call:
    return lambda: torch.cdist(latents, codes).argmin(dim=1)


def _addmm(latents: Float[Tensor, "n d"], codes: Float[Tensor, "v d"]) -> Call:
    def call() -> Tensor:
        half_squares = codes.square().sum(dim=1) / 2
        return torch.addmm(half_squares, latents, codes.T, alpha=-1).argmin(dim=1)

    return call


def _vector_quantize(latents: Float[Tensor, "n d"], codes: Float[Tensor, "v d"]) -> Call:
    """It has no search of its own to call, so the look-up of the codes is in its time."""
    size, channels = codes.shape
    module = vector_quantize_pytorch().VectorQuantize(dim=channels, codebook_size=size)
    module = module.to(latents.device).eval()
    module.codebook = codes

    def call() -> Tensor:
        with torch.no_grad():
            return module(latents[None])[1][0]

    return call


def _scikit_learn(latents: Float[Tensor, "n d"], codes: Float[Tensor, "v d"]) -> Call:
    sklearn, metrics = import_module("sklearn"), import_module("sklearn.metrics")
    x, y = latents.numpy(), codes.numpy()

    def call() -> Tensor:
        with sklearn.config_context(assume_finite=True):
            return torch.from_numpy(metrics.pairwise_distances_argmin(x, y))

    return call


def _faiss(latents: Float[Tensor, "n d"], codes: Float[Tensor, "v d"]) -> Call:
    faiss = import_module("faiss")
    faiss.omp_set_num_threads(torch.get_num_threads())
    x, y = latents.numpy(), codes.numpy()
    return lambda: torch.from_numpy(faiss.knn(x, y, 1)[1][:, 0])


def _flash_kmeans(latents: Float[Tensor, "n d"], codes: Float[Tensor, "v d"]) -> Call:
    assign = import_module("flash_kmeans.assign_euclid_triton").euclid_assign_triton

    def call() -> Tensor:
        squares = latents.square().sum(dim=1)
        return assign(latents[None], codes[None], squares[None])[0].long()

    return call
