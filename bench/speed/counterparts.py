"""Methods that vector-quantize-pytorch has too, at equal settings and, where it can, equal weights.

Its straight-through estimator is asked for, since its default rotates. A codebook compared by
direction it cannot train by gradient; there its codes stay frozen, which spares it the gradient
that ours computes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.speed.peers import vector_quantize_pytorch
from quantizers import Quantizer, build

_CHANNELS = 8
_BY_GRADIENT = {"learnable_codebook": True, "ema_update": False, "rotation_trick": False}
_FROZEN = {"freeze_codebook": True, "rotation_trick": False}
_LEVELS = {10: (8, 8, 4, 4), 13: (8, 8, 8, 4, 4), 16: (8, 8, 8, 8, 4, 4)}


@dataclass(frozen=True)
class Pair:
    """A method and its counterpart.

    Attributes:
        ours: the method of this package.
        theirs: the module of the other; takes latents with the channel last.
        copies: of a float32 matrix of all latents by all codes that the counterpart holds at once.
        comparable: whether both must find the same indices.
        updates: whether `update` of ours belongs to the step: theirs moves its codes in `forward`.
        note: where settings cannot be made equal.
    """

    ours: Quantizer
    theirs: nn.Module
    copies: int
    comparable: bool = True
    updates: bool = False
    note: str = ""


def pairs() -> dict[str, Callable[[int], Pair]]:
    """By name of the method: builds both for codebooks of 2^bits codes."""
    return {
        "vq": _vq,
        "ema_vq": _ema_vq,
        "cosine_vq": _cosine_vq,
        "simvq": _simvq,
        "product_vq": _product_vq,
        "gsq": _gsq,
        "mgvq": _mgvq,
        "rvq": _rvq,
        "fsq": _fsq,
        "rfsq": _rfsq,
        "lfq": _lfq,
        "grouped_lfq": _grouped_lfq,
        "bsq": _bsq,
    }


def _vector_quantize(codes: Tensor, **settings: Any) -> Any:
    """Their main class with given codes, one codebook or one a head on the first axis."""
    codes = codes.view(-1, *codes.shape[-2:])
    size, channels = codes.shape[1:]
    module = vector_quantize_pytorch().VectorQuantize(
        codebook_size=size, codebook_dim=channels, **settings
    )
    module._codebook.embed.data.copy_(codes)
    return module.train()


def _vq(bits: int) -> Pair:
    codes = torch.randn(2**bits, _CHANNELS)
    ours = build("vq", latent_channels=_CHANNELS, codebook_size=2**bits, commitment_weight=1.0)
    ours.load_state_dict({"codebook": codes})
    theirs = _vector_quantize(codes, dim=_CHANNELS, commitment_weight=1.0, **_BY_GRADIENT)
    return Pair(ours, theirs, copies=4)


def _ema_vq(bits: int) -> Pair:
    codes = torch.randn(2**bits, _CHANNELS)
    ours = build("ema_vq", latent_channels=_CHANNELS, codebook_size=2**bits, revival_threshold=0.0)
    sizes = torch.ones(2**bits)
    ours.load_state_dict({"codebook": codes, "cluster_sums": codes, "cluster_sizes": sizes})
    theirs = _vector_quantize(
        codes, dim=_CHANNELS, decay=0.99, commitment_weight=0.25, rotation_trick=False
    )
    theirs._codebook.embed_avg.copy_(codes)
    return Pair(ours, theirs, copies=4, updates=True)


def _cosine_vq(bits: int) -> Pair:
    codes = F.normalize(torch.randn(2**bits, _CHANNELS), dim=-1)
    ours = build("cosine_vq", latent_channels=_CHANNELS, codebook_size=2**bits)
    ours.load_state_dict({"codebook": codes})
    theirs = _vector_quantize(
        codes, dim=_CHANNELS, use_cosine_sim=True, commitment_weight=0.25, **_FROZEN
    )
    return Pair(ours, theirs, copies=4, note="its codes frozen")


def _simvq(bits: int) -> Pair:
    theirs = vector_quantize_pytorch().SimVQ(
        dim=_CHANNELS, codebook_size=2**bits, rotation_trick=False
    )
    ours = build("simvq", latent_channels=_CHANNELS, codebook_size=2**bits)
    weight = theirs.code_transform.weight.detach()
    ours.load_state_dict({"core": theirs.frozen_codebook, "projection.weight": weight})
    return Pair(ours, theirs.train(), copies=1)


def _product_vq(bits: int) -> Pair:
    codes = torch.randn(2, 2**bits, _CHANNELS)
    ours = build(
        "product_vq",
        groups=2,
        group_channels=_CHANNELS,
        codebook_size=2**bits,
        commitment_weight=1.0,
    )
    ours.load_state_dict({f"subquantizers.{g}.codebook": codes[g] for g in range(2)})
    heads = {"heads": 2, "separate_codebook_per_head": True}
    theirs = _vector_quantize(
        codes, dim=2 * _CHANNELS, commitment_weight=1.0, **heads, **_BY_GRADIENT
    )
    return Pair(ours, theirs, copies=8)


def _gsq(bits: int) -> Pair:
    codes = F.normalize(torch.randn(1, 2**bits, _CHANNELS), dim=-1)
    ours = build("gsq", groups=2, group_channels=_CHANNELS, codebook_size=2**bits)
    ours.load_state_dict({"codebook": codes})
    theirs = _vector_quantize(
        codes,
        dim=2 * _CHANNELS,
        heads=2,
        use_cosine_sim=True,
        commitment_weight=0.25,
        **_FROZEN,
    )
    return Pair(ours, theirs, copies=8, note="its codes frozen")


def _mgvq(bits: int) -> Pair:
    codes = F.normalize(torch.randn(2, 2**bits, _CHANNELS), dim=-1)
    ours = build("mgvq", groups=2, group_channels=_CHANNELS, codebook_size=2**bits)
    state = {f"subquantizers.{g}.codebook": codes[g] for g in range(2)}
    ours.load_state_dict(state | {"usage": torch.zeros(2, 2**bits)})
    heads = {"heads": 2, "separate_codebook_per_head": True}
    theirs = _vector_quantize(
        codes,
        dim=2 * _CHANNELS,
        use_cosine_sim=True,
        commitment_weight=0.25,
        **heads,
        **_FROZEN,
    )
    return Pair(ours, theirs, copies=8, note="its codes frozen; ours counts")


def _rvq(bits: int) -> Pair:
    codes = torch.randn(2, 2**bits, _CHANNELS)
    ours = build(
        "rvq",
        latent_channels=_CHANNELS,
        codebook_size=2**bits,
        stages=2,
        shared=False,
        commitment_weight=1.0,
    )
    ours.load_state_dict({f"quantizers.{k}.codebook": codes[k] for k in range(2)})
    theirs = vector_quantize_pytorch().ResidualVQ(
        dim=_CHANNELS,
        num_quantizers=2,
        codebook_size=2**bits,
        commitment_weight=1.0,
        **_BY_GRADIENT,
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
