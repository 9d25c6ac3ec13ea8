"""Exact nearest-code search in O(log V) for codes that can be sorted: on a line or on a circle.

On the line, bisection finds the midpoints between neighbours on both sides of a latent. The float64
midpoint of two float32 numbers is exact. On the circle, directions are sorted by integers made from
exact quotients, so that only equal directions have equal integers. Then the distances of a latent
to its two neighbours are compared in float64.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

_TILE_LATENTS = 1 << 16  # that are searched at a time: a few MiB
_RATIO_BITS = 745 << 52  # just below the smallest ratio of two float32 numbers, as float64 bits
_EIGHTH = (1023 << 52) - _RATIO_BITS  # of a turn: a ratio of 1


def search_line(latents: Float[Tensor, " n"], codes: Float[Tensor, " v"]) -> Int[Tensor, " n"]:
    """Index of the code at the smallest distance; ties go to the lowest.

    Args:
        latents: finite points in float32.
        codes: finite points in float32.
    """
    points, lowest = _distinct(codes)
    below, above = points[:-1].double(), points[1:].double()
    midpoints = (below + above) / 2
    ties_go_up = lowest[1:] < lowest[:-1]  # then a latent on the midpoint must lie above it
    before = torch.nextafter(midpoints, torch.full_like(midpoints, -torch.inf))
    midpoints = torch.where(ties_go_up, before, midpoints)
    tiles = latents.split(_TILE_LATENTS)
    return torch.cat([lowest[torch.searchsorted(midpoints, tile.double())] for tile in tiles])


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
    indices = []
    for tile in latents.split(_TILE_LATENTS):
        above = torch.searchsorted(angles, _angles(tile))
        below = torch.where(above == 0, len(angles), above) - 1  # the circle closes
        above = torch.where(above == len(angles), 0, above)
        unit = directions(tile)
        to_below, to_above = _squares(units[below] - unit), _squares(units[above] - unit)
        nearer = torch.where(to_below < to_above, lowest[below], lowest[above])
        lower = torch.minimum(lowest[below], lowest[above])
        indices.append(torch.where(to_below == to_above, lower, nearer))
    return torch.cat(indices)


def directions(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Unit vectors in float64; rows that are exact multiples of each other give equal bits.

    A row divided by its largest magnitude depends only on the direction. In float64, different
    quotients of float32 numbers stay different. Zero rows stay zero.
    """
    largest = rows.abs().amax(dim=1, keepdim=True).double()
    units = rows / largest.clamp_min(2.0**-149)
    return units.div_(units.square().sum(dim=1, keepdim=True).sqrt_().clamp_min_(1))


def _distinct(keys: Tensor) -> tuple[Tensor, Int[Tensor, " u"]]:
    """The distinct keys in ascending order, and the lowest index of each."""
    ordered, order = torch.sort(keys, stable=True)
    first = torch.ones_like(order, dtype=torch.bool)
    torch.ne(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first], order[first]


def _angles(vectors: Float[Tensor, "n 2"]) -> Int[Tensor, " n"]:
    """Integers that grow with the angle of float32 vectors, from minus half a turn to plus half.

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
