"""Methods that vector-quantize-pytorch has too, at equal settings and, where possible, weights.

Its straight-through estimator is asked for, because its default rotates. It cannot train by
gradient a codebook that is compared by direction; there its codes stay frozen, which saves it the
gradient that ours computes.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from bench.speed.peers import vector_quantize_pytorch
from quantizers import Quantizer, build

_CHANNELS = 8
_LEVELS = {10: (8, 8, 4, 4), 13: (8, 8, 8, 4, 4), 16: (8, 8, 8, 8, 4, 4)}
_BY_GRADIENT = {"learnable_codebook": True, "ema_update": False, "commitment_weight": 1.0}
_BY_AVERAGE = {"decay": 0.99, "commitment_weight": 0.25}
_BY_DIRECTION = {"use_cosine_sim": True, "freeze_codebook": True, "commitment_weight": 0.25}


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


class _Settings(NamedTuple):
    """Options of ours, class and options of theirs, and what a pair has of the same names."""

    ours: dict[str, Any]
    module: str
    theirs: dict[str, Any]
    copies: int
    note: str = ""


def _settings(bits: int) -> dict[str, _Settings]:
    """By name of the method, for codebooks of 2^bits codes."""
    codes, levels = {"codebook_size": 2**bits}, {"levels": list(_LEVELS[bits])}
    one, two = {"latent_channels": _CHANNELS}, {"groups": 2, "group_channels": _CHANNELS}
    plain = {"dim": _CHANNELS, "rotation_trick": False, **codes}
    lfq = codes | {"commitment_loss_weight": 0.25}
    sphere = {"latent_channels": bits, "temperature": 0.01}
    frozen = "its codes frozen"

    def look_up(
        trained: dict[str, Any], width: dict[str, int], *, shared: bool = True, note: str = ""
    ) -> _Settings:
        groups = width.get("groups", 1)
        heads = {
            "dim": groups * _CHANNELS,
            "codebook_dim": _CHANNELS,
            "heads": groups,
            "separate_codebook_per_head": not shared,
        }
        ours = width | codes | {"commitment_weight": trained["commitment_weight"]}
        return _Settings(ours, "VectorQuantize", plain | heads | trained, 4 * groups, note)

    vq, ema_vq = look_up(_BY_GRADIENT, one), look_up(_BY_AVERAGE, one)
    return {
        "vq": vq,
        "ema_vq": ema_vq._replace(ours=ema_vq.ours | {"revival_threshold": 0.0}),
        "cosine_vq": look_up(_BY_DIRECTION, one, note=frozen),
        "simvq": _Settings(one | codes, "SimVQ", plain, copies=1),
        "product_vq": look_up(_BY_GRADIENT, two, shared=False),
        "gsq": look_up(_BY_DIRECTION, two, note=frozen),
        "mgvq": look_up(_BY_DIRECTION, two, shared=False, note=f"{frozen}; ours counts"),
        "rvq": _Settings(
            vq.ours | {"stages": 2, "shared": False},
            "ResidualVQ",
            plain | _BY_GRADIENT | {"num_quantizers": 2},
            copies=8,
        ),
        "fsq": _Settings(levels, "FSQ", levels, copies=0),
        "rfsq": _Settings(
            levels | {"stages": 2},
            "ResidualFSQ",
            levels | {"num_quantizers": 2},
            copies=0,
            note="its grid is another",
        ),
        "lfq": _Settings({"latent_channels": bits}, "LFQ", lfq, copies=9),
        "grouped_lfq": _Settings(
            {"groups": 2, "group_channels": bits}, "LFQ", lfq | {"num_codebooks": 2}, copies=18
        ),
        "bsq": _Settings(sphere, "LFQ", codes | {"spherical": True}, copies=9),
    }


METHODS = tuple(_settings(10))


def pair_of(name: str, bits: int, device: torch.device) -> Pair:
    """Builds both for codebooks of 2^bits codes, always with the same weights.

    Raises:
        ImportError: the other library is not installed.
    """
    settings = _settings(bits)[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = getattr(vector_quantize_pytorch(), settings.module)(**settings.theirs)
        ours = build(name, **settings.ours)
        state = ours.state_dict()
        if settings.module == "SimVQ":
            state["core"] = theirs.frozen_codebook
            state["projection.weight"] = theirs.code_transform.weight.detach()
        elif settings.module in ("VectorQuantize", "ResidualVQ"):
            state |= _codebooks(state, theirs)
    ours.load_state_dict(state)
    return Pair(
        ours.to(device).train(),
        theirs.to(device).train(),
        settings.copies,
        comparable=name != "rfsq",
        updates=name == "ema_vq",
        note=settings.note,
    )


def _codebooks(state: dict[str, torch.Tensor], theirs: Any) -> dict[str, torch.Tensor]:
    """Draws codes, copies them into their codebooks and returns them for the state of ours."""
    drawn = []
    for layer in getattr(theirs, "layers", [theirs]):
        codebook = layer._codebook
        codes = torch.randn(codebook.embed.shape)
        drawn.append(F.normalize(codes, dim=-1) if layer.use_cosine_sim else codes)
        codebook.embed.data.copy_(drawn[-1])
        codebook.embed_avg.copy_(drawn[-1])
    names = [name for name in state if name.endswith("codebook")]
    parts = torch.cat(drawn).view(len(names), *state[names[0]].shape)
    ours = dict(zip(names, parts, strict=True))
    if "cluster_sums" in state:
        ours |= {"cluster_sums": parts[0], "cluster_sizes": torch.ones_like(state["cluster_sizes"])}
    return ours
