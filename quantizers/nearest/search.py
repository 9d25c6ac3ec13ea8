"""The nearest-code search that every method with a codebook uses: `nearest`.

On a CPU the result is exact: distances are compared in float64, ties go to the lowest index, and
the batch does not matter. On other devices the search uses float32 and never synchronizes with the
CPU: there, either of two codes may be found if their distances differ only by rounding. The matrix
of all latents by all codes is never stored.
"""

from typing import get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quantizers.base import NonFiniteLatentError, are_finite, without_autocast
from quantizers.nearest.accelerator import search_float32
from quantizers.nearest.chunks import search_chunks
from quantizers.nearest.dot_products import Precision, matmul_precision
from quantizers.nearest.line_and_circle import directions, search_circle, search_line


def nearest(
    latents: Float[Tensor, "*g n d"],
    codebook: Float[Tensor, "*g v d"],
    *,
    spherical: bool = False,
    precision: Precision = "float32",
) -> Int[Tensor, "*g n"]:
    """Index of the nearest code for every latent, both taken as float32; ties go to the lowest.

    A code with an infinite element is chosen only if there is no other; then index 0 is.

    Args:
        latents: vectors to look up, finite: (n, d), or (g, n, d) for g groups in one call.
        codebook: the codes, one codebook per group; equal, zero and infinite codes are allowed.
        spherical: compare directions, that is, maximise the cosine. On a CPU, codes that are exact
            multiples of each other tie. A zero code has cosine 0 to every latent, and a zero latent
            has cosine 0 to every code.
        precision: lowest allowed precision of the factors of a product on an accelerator. "tf32"
            has 10 bits of mantissa and "bf16" has 7, so a code that is further away by that much
            may be found. The search on a CPU is always exact.

    Raises:
        ValueError: shapes that do not fit, an empty codebook, integer tensors, two devices or an
            unknown precision.
        NonFiniteLatentError: NaN or an infinite latent, on a CPU; other devices skip this check,
            because it would synchronize.
    """
    _check(latents, codebook)
    if precision not in get_args(Precision):
        known = ", ".join(map(repr, get_args(Precision)))
        raise ValueError(f"precision must be one of {known}; got {precision!r}")
    one_group = latents.ndim == 2
    if one_group:
        latents, codebook = latents.unsqueeze(0), codebook.unsqueeze(0)
    with torch.no_grad(), without_autocast(latents.device.type):
        indices = torch.ops.quantizers.search(
            latents.float(), codebook.float(), spherical, precision
        )
    return indices.squeeze(0) if one_group else indices


# `custom_op` would do the same, but its first call imports the compiler, which takes seconds
torch.library.define(
    "quantizers::search",
    "(Tensor latents, Tensor codebook, bool spherical, str precision) -> Tensor",
)


@torch.library.impl("quantizers::search", "default")
def _search(latents: Tensor, codebook: Tensor, spherical: bool, precision: Precision) -> Tensor:
    """The search on float32 tensors: opaque to the compiler, which would unroll its loops."""
    if latents.device.type != "cpu":
        return _search_on_accelerator(latents, codebook, spherical, precision)
    if len(latents) == 1:
        return _search_exactly(latents[0].detach(), codebook[0].detach(), spherical)[None]
    groups = zip(latents.detach(), codebook.detach(), strict=True)
    return torch.stack([_search_exactly(*group, spherical) for group in groups])


@torch.library.register_fake("quantizers::search")
def _search_shape(
    latents: Tensor, codebook: Tensor, spherical: bool, precision: Precision
) -> Tensor:
    return torch.empty(latents.shape[:-1], dtype=torch.int64, device=latents.device)


def _search_on_accelerator(
    latents: Tensor, codebook: Tensor, spherical: bool, precision: Precision
) -> Tensor:
    """The search in float32, with products of the given precision."""
    with matmul_precision(torch.backends.cuda.matmul, "tf32" if precision == "tf32" else "ieee"):
        return search_float32(latents, codebook, spherical=spherical, precision=precision)


def _search_exactly(latents: Tensor, codebook: Tensor, spherical: bool) -> Tensor:
    """The exact search on a CPU."""
    if not are_finite(latents):
        raise NonFiniteLatentError("nearest expects finite latents, got NaN or infinity")
    if are_finite(codebook):
        return _search_finite(latents, codebook, spherical)
    if codebook.isnan().any():
        raise NonFiniteLatentError("nearest expects a codebook without NaN, got NaN")
    finite = codebook.isfinite().all(dim=1).nonzero().squeeze(1)
    if len(finite) == 0:
        return torch.zeros(len(latents), dtype=torch.int64)
    return finite[_search_finite(latents, codebook[finite], spherical)]


def _search_finite(latents: Tensor, codebook: Tensor, spherical: bool) -> Tensor:
    """The exact search for codes without infinite elements."""
    if spherical:
        return _search_directions(latents, codebook)
    if codebook.shape[1] == 1:
        return search_line(latents[:, 0], codebook[:, 0])
    return search_chunks(latents, codebook, lambda rows: rows)


def _search_directions(latents: Tensor, codebook: Tensor) -> Tensor:
    """The exact search for directions, apart from zero latents and zero codes, which have none."""
    nonzero = latents.any(dim=1)
    if not nonzero.all():
        indices = torch.zeros(len(latents), dtype=torch.int64)
        indices[nonzero] = _search_directions(latents[nonzero], codebook)
        return indices
    nonzero = codebook.any(dim=1)
    if not nonzero.any():
        return torch.zeros(len(latents), dtype=torch.int64)
    if not nonzero.all():
        zero, others = nonzero.int().argmin(), nonzero.nonzero().squeeze(1)
        index = others[_search_directions(latents, codebook[others])]
        product = (latents.double() * codebook[index]).sum(dim=1)
        zero_wins = (product < 0) | ((product == 0) & (zero < index))
        return torch.where(zero_wins, zero, index)
    if codebook.shape[1] == 1:
        return search_line(latents[:, 0].sign(), codebook[:, 0].sign())
    if codebook.shape[1] == 2:
        return search_circle(latents, codebook)
    return search_chunks(latents, codebook, directions)


def _check(latents: Tensor, codebook: Tensor) -> None:
    shapes = {(t.ndim, *t.shape[:-2], *t.shape[-1:]) for t in (latents, codebook)}
    if len(shapes) > 1 or latents.ndim not in (2, 3):
        raise ValueError(
            "nearest expects latents (n, d) and a codebook (v, d), or one of each per group: "
            f"(g, n, d) and (g, v, d); got {tuple(latents.shape)} and {tuple(codebook.shape)}"
        )
    if codebook.numel() == 0:
        raise ValueError(f"nearest expects at least one code, got {tuple(codebook.shape)}")
    if not (latents.is_floating_point() and codebook.is_floating_point()):
        raise ValueError(
            f"nearest expects floating-point tensors, got {latents.dtype} and {codebook.dtype}"
        )
    if latents.device != codebook.device:
        raise ValueError(
            f"nearest expects one device, got latents on {latents.device} and a codebook on "
            f"{codebook.device}; move one of them with .to()"
        )
