"""Residual stages: each quantizes what the stages before it left over."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add

from jaxtyping import Float, Int
from torch import Tensor


def sum_of_stages(
    decoders: Sequence[Callable[[Int[Tensor, "b g *spatial"]], Float[Tensor, "b c *spatial"]]],
    indices: Int[Tensor, "b k *spatial"],
    *,
    groups: int = 1,
) -> Float[Tensor, "b c *spatial"]:
    """Sums the codes of the first stages; fewer stages than all give a coarser code.

    Args:
        decoders: each stage's `dequantize`.
        indices: one index per group for each stage, stage after stage.
        groups: indices of one stage.

    Raises:
        ValueError: `indices` are not those of the first stages.
    """
    rows, stages = indices.shape[1], len(decoders)
    if rows % groups or not 1 <= rows <= stages * groups:
        raise ValueError(
            f"dequantize takes the indices of the first 1 to {stages} stages on axis 1, {groups} "
            f"for each stage, got {rows}"
        )
    pairs = zip(decoders, indices.split(groups, dim=1), strict=False)
    return reduce(add, [decode(stage_indices) for decode, stage_indices in pairs])


def sum_of_losses(
    stages: Sequence[Mapping[str, Float[Tensor, ""]]],
) -> dict[str, Float[Tensor, ""]]:
    """The losses of all stages, added by name."""
    return {name: reduce(add, [losses[name] for losses in stages]) for name in stages[0]}
