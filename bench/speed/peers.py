"""Searches for the nearest code, ours and those of other libraries, behind one call.

Each gets what suits it best: numpy arrays without a copy, no check of its input, no gradient.
"""

import contextlib
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

import torch
from jaxtyping import Float
from torch import Tensor

from bench.speed.page import Call
from quantizers.nearest import nearest

OURS = "ours"
PEER = "vector-quantize-pytorch"
COPIES = {  # of a float32 matrix of all latents by all codes that a call holds at once
    "cdist + argmin": 1,
    "addmm + argmin": 1,
    PEER: 4,  # scores, and a one-hot matrix in int64 and in float32
}
_PACKAGES = ("numba", "scikit-learn", "faiss-cpu", PEER, "flash-kmeans", "triton")

Latents = Float[Tensor, "n d"]
Codes = Float[Tensor, "v d"]
Search = Callable[[Tensor, Tensor], Call]  # latents and codes to the call: one index for each row


def searches(device: torch.device) -> dict[str, Search]:
    """All searches that can run on a device, by the head of their column; ours first."""
    everywhere: dict[str, Search] = {
        OURS: lambda latents, codes: lambda: nearest(latents, codes),
        "cdist + argmin": lambda latents, codes: lambda: torch.cdist(latents, codes).argmin(dim=1),
        "addmm + argmin": _addmm,
        PEER: _vector_quantize,
    }
    on_cpu: dict[str, Search] = {"scikit-learn": _scikit_learn, "FAISS flat": _faiss}
    return everywhere | ({"flash-kmeans": _flash_kmeans} if device.type == "cuda" else on_cpu)


def vector_quantize_pytorch() -> ModuleType:
    """The library of most counterparts; its dependencies warn about one another when imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module("vector_quantize_pytorch")


def versions() -> dict[str, str]:
    """Versions of the other libraries."""
    found = dict.fromkeys(_PACKAGES, "not installed")
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _addmm(latents: Latents, codes: Codes) -> Call:
    def call() -> Tensor:
        half_squares = codes.square().sum(dim=1) / 2
        return torch.addmm(half_squares, latents, codes.T, alpha=-1).argmin(dim=1)

    return call


def _vector_quantize(latents: Latents, codes: Codes) -> Call:
    """It has no search of its own to call, so looking up the codes is in its time."""
    size, channels = codes.shape
    module = vector_quantize_pytorch().VectorQuantize(dim=channels, codebook_size=size)
    module = module.to(latents.device).eval()
    module.codebook = codes
    return torch.no_grad()(lambda: module(latents[None])[1][0])


def _scikit_learn(latents: Latents, codes: Codes) -> Call:
    import_module("sklearn").set_config(assume_finite=True)
    search = import_module("sklearn.metrics").pairwise_distances_argmin
    x, y = latents.numpy(), codes.numpy()
    return lambda: torch.from_numpy(search(x, y))


def _faiss(latents: Latents, codes: Codes) -> Call:
    faiss = import_module("faiss")
    faiss.omp_set_num_threads(torch.get_num_threads())
    x, y = latents.numpy(), codes.numpy()
    return lambda: torch.from_numpy(faiss.knn(x, y, 1)[1][:, 0])


def _flash_kmeans(latents: Latents, codes: Codes) -> Call:
    assign = import_module("flash_kmeans.assign_euclid_triton").euclid_assign_triton
    x, y = latents[None], codes[None]
    return lambda: assign(x, y, x.square().sum(dim=2))[0].long()
