"""Methods that vector-quantize-pytorch has too, at equal settings and, where possible, weights.

Its straight-through estimator is asked for, because its default rotates. It cannot train by
gradient a codebook that is compared by direction; there its codes stay frozen, which saves it the
gradient that ours computes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from bench.speed.peers import vector_quantize_pytorch
from quantizers import Quantizer, build

_CHANNELS = 8
_LEVELS = {10: (8, 8, 4, 4), 13: (8, 8, 8, 4, 4), 16: (8, 8, 8, 8, 4, 4)}
_BY_GRADIENT = {
    "learnable_codebook": True,
    "ema_update": False,
    "rotation_trick": False,
    "commitment_weight": 1.0,
}
_BY_AVERAGE = {"decay": 0.99, "rotation_trick": False, "commitment_weight": 0.25}
_BY_DIRECTION = {
    "use_cosine_sim": True,
    "freeze_codebook": True,
    "rotation_trick": False,
    "commitment_weight": 0.25,
}


@dataclass(frozen=True)
class Pair:
    """A method and its counterpart.

    Attributes:
        ours: the method of this package.
        theirs: the module of the other library, untyped; takes latents with the channel last.
        copies: of a float32 matrix of all latents by all codes that the counterpart holds at once.
        comparable: whether both must find the same indices.
        updates: whether `update` of ours belongs to the step: theirs moves its codes in `forward`.
        note: where settings cannot be made equal.
    """

    ours: Quantizer
    theirs: Any
    copies: int
    comparable: bool = True
    updates: bool = False
    note: str = ""


def pairs() -> dict[str, Callable[[int], Pair]]:
    """By name of the method: builds both for codebooks of 2^bits codes."""
    return {
        "vq": partial(_look_up, "vq", _BY_GRADIENT),
        "ema_vq": _ema_vq,
        "cosine_vq": partial(_look_up, "cosine_vq", _BY_DIRECTION, note="its codes frozen"),
        "simvq": _simvq,
        "product_vq": partial(_look_up, "product_vq", _BY_GRADIENT, groups=2, codebooks=2),
        "gsq": partial(_look_up, "gsq", _BY_DIRECTION, groups=2, note="its codes frozen"),
        "mgvq": partial(
            _look_up,
            "mgvq",
            _BY_DIRECTION,
            groups=2,
            codebooks=2,
            note="its codes frozen; ours counts",
        ),
        "rvq": _rvq,
        "fsq": _fsq,
        "rfsq": _rfsq,
        "lfq": _lfq,
        "grouped_lfq": _grouped_lfq,
        "bsq": _bsq,
    }


def _look_up(
    name: str,
    settings: Mapping[str, Any],
    bits: int,
    *,
    groups: int = 1,
    codebooks: int = 1,
    note: str = "",
    **options: Any,
) -> Pair:
    """Codebooks of both with the same codes; `codebooks` is 1 or one for each group."""
    codes = torch.randn(codebooks, 2**bits, _CHANNELS)
    if settings is _BY_DIRECTION:
        codes = F.normalize(codes, dim=-1)
    widths = {"groups": groups, "group_channels": _CHANNELS}
    ours = build(
        name,
        codebook_size=2**bits,
        commitment_weight=settings["commitment_weight"],
        **(widths if groups > 1 else {"latent_channels": _CHANNELS}),
        **options,
    )
    _load(ours, codes)
    theirs = vector_quantize_pytorch().VectorQuantize(
        dim=groups * _CHANNELS,
        codebook_size=2**bits,
        codebook_dim=_CHANNELS,
        heads=groups,
        separate_codebook_per_head=codebooks > 1,
        **settings,
    )
    theirs._codebook.embed.data.copy_(codes)
    return Pair(ours, theirs.train(), copies=4 * groups, note=note)


def _load(quantizer: Quantizer, codes: Float[Tensor, "k v d"]) -> None:
    """Copies codes into every codebook of ours."""
    state = quantizer.state_dict()
    names = [name for name in state if name.endswith("codebook")]
    parts = codes.view(len(names), *state[names[0]].shape)
    quantizer.load_state_dict(state | dict(zip(names, parts, strict=True)))


def _ema_vq(bits: int) -> Pair:
    pair = _look_up("ema_vq", _BY_AVERAGE, bits, revival_threshold=0.0)
    state = pair.ours.state_dict()
    sums = {"cluster_sums": state["codebook"], "cluster_sizes": torch.ones(2**bits)}
    pair.ours.load_state_dict(state | sums)
    pair.theirs._codebook.embed_avg.copy_(state["codebook"])
    return replace(pair, updates=True)


def _simvq(bits: int) -> Pair:
    theirs = vector_quantize_pytorch().SimVQ(
        dim=_CHANNELS, codebook_size=2**bits, rotation_trick=False
    )
    ours = build("simvq", latent_channels=_CHANNELS, codebook_size=2**bits)
    weight = theirs.code_transform.weight.detach()
    ours.load_state_dict({"core": theirs.frozen_codebook, "projection.weight": weight})
    return Pair(ours, theirs.train(), copies=1)


def _rvq(bits: int) -> Pair:
    codes = torch.randn(2, 2**bits, _CHANNELS)
    sizes = {"codebook_size": 2**bits, "commitment_weight": 1.0}
    ours = build("rvq", latent_channels=_CHANNELS, stages=2, shared=False, **sizes)
    _load(ours, codes)
    theirs = vector_quantize_pytorch().ResidualVQ(
        dim=_CHANNELS, num_quantizers=2, codebook_size=2**bits, **_BY_GRADIENT
    )
    for layer, codebook in zip(theirs.layers, codes, strict=True):
        layer._codebook.embed.data.copy_(codebook[None])
    return Pair(ours, theirs.train(), copies=8)


def _fsq(bits: int) -> Pair:
    levels = _LEVELS[bits]
    theirs = vector_quantize_pytorch().FSQ(list(levels))
    return Pair(build("fsq", levels=levels), theirs.train(), copies=0)


def _rfsq(bits: int) -> Pair:
    levels = _LEVELS[bits]
    theirs = vector_quantize_pytorch().ResidualFSQ(levels=list(levels), num_quantizers=2)
    ours = build("rfsq", levels=levels, stages=2)
    return Pair(ours, theirs.train(), copies=0, comparable=False, note="its grid is another")


def _lfq(bits: int) -> Pair:
    theirs = vector_quantize_pytorch().LFQ(codebook_size=2**bits, commitment_loss_weight=0.25)
    return Pair(build("lfq", latent_channels=bits), theirs.train(), copies=9)


def _grouped_lfq(bits: int) -> Pair:
    theirs = vector_quantize_pytorch().LFQ(
        codebook_size=2**bits, num_codebooks=2, commitment_loss_weight=0.25
    )
    ours = build("grouped_lfq", groups=2, group_channels=bits)
    return Pair(ours, theirs.train(), copies=18)


def _bsq(bits: int) -> Pair:
    theirs = vector_quantize_pytorch().LFQ(codebook_size=2**bits, spherical=True)
    ours = build("bsq", latent_channels=bits, temperature=0.01)
    return Pair(ours, theirs.train(), copies=9)
