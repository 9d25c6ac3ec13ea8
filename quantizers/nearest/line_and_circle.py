"""Exact nearest-code search in O(log V) where codes can be sorted: on a line and on a circle.

On the line a bisection of the midpoints between neighbours decides: in float64 the midpoint of two
float32 numbers is exact. On the circle directions are sorted by integers that are made of exact
quotients, so that equal directions, and only those, are equal; then the two neighbours of a latent
are compared by their distance in float64.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

_QUERIES = 1 << 16  # latents that are searched at a time: a few MiB
_RATIO_BITS = 745 << 52  # just under the smallest ratio of two float32 numbers, as float64 bits
_EIGHTH = (1023 << 52) - _RATIO_BITS  # of a turn: the ratio is 1


def search_line(latents: Float[Tensor, " n"], codes: Float[Tensor, " v"]) -> Int[Tensor, " n"]:
    """Index of the code at the smallest distance; ties go to the lowest.

    Args:
        latents: finite points in float32.
        codes: finite points in float32.
    """
    points, lowest = _distinct(codes)
    below, above = points[:-1].double(), points[1:].double()
    midpoints = (below + above) / 2
    ties_go_up = lowest[1:] < lowest[:-1]  # a latent on the midpoint is then beyond it
    before = torch.nextafter(midpoints, torch.full_like(midpoints, -torch.inf))
    midpoints = torch.where(ties_go_up, before, midpoints)
    parts = latents.split(_QUERIES)
    return torch.cat([lowest[torch.searchsorted(midpoints, part.double())] for part in parts])


def search_circle(
    latents: Float[Tensor, "n 2"], codebook: Float[Tensor, "v 2"]
) -> Int[Tensor, " n"]:
    """Index of the code in the nearest direction; ties go to the lowest.

    Args:
        latents: finite vectors, none of them zero.
        codebook: finite vectors, none of them zero.
    """
    angles, lowest = _distinct(_angles(codebook))
    units = directions(codebook)[lowest]
    found = []
    for part in latents.split(_QUERIES):
        above = torch.searchsorted(angles, _angles(part))
        below = torch.where(above == 0, len(angles), above) - 1  # the circle closes
        above = torch.where(above == len(angles), 0, above)
        unit = directions(part)
        to_below, to_above = _squares(units[below] - unit), _squares(units[above] - unit)
        nearer = torch.where(to_below < to_above, lowest[below], lowest[above])
        lower = torch.minimum(lowest[below], lowest[above])
        found.append(torch.where(to_below == to_above, lower, nearer))
    return torch.cat(found)


def directions(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Unit vectors in float64; those of exact multiples of one row are bit-equal.

    The quotients of a row by its largest magnitude depend on the direction only, and in float64
    two different quotients of float32 numbers are different. Zero rows stay zero.
    """
    largest = rows.abs().amax(dim=1, keepdim=True).double()
    units = rows / largest.clamp_min(2.0**-149)
    return units.div_(units.square().sum(dim=1, keepdim=True).sqrt_().clamp_min_(1))


def _distinct(keys: Tensor) -> tuple[Tensor, Int[Tensor, " u"]]:
    """The different keys in ascending order and the lowest index of each."""
    ordered, order = torch.sort(keys, stable=True)
    first = torch.ones_like(order, dtype=torch.bool)
    torch.ne(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first], order[first]


def _angles(vectors: Float[Tensor, "n 2"]) -> Int[Tensor, " n"]:
    """Integers from minus to plus half a turn that grow with the angle of float32 vectors.

    Within an eighth of a turn they are the bits of the tangent, a positive float64 number.
    """
    across, up = vectors.double().unbind(1)
    width, height = across.abs(), up.abs()
    tangent = torch.minimum(width, height) / torch.maximum(width, height)
    angle = (tangent.view(torch.int64) - _RATIO_BITS).clamp_min_(0)
    angle = torch.where(height > width, 2 * _EIGHTH - angle, angle)
    angle = torch.where(across < 0, 4 * _EIGHTH - angle, angle)
    return torch.where(up < 0, -angle, angle)


def _squares(vectors: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
    return vectors[:, 0].square() + vectors[:, 1].square()
