"""Densities of one coordinate, and the best scalar quantizer of each, in float64.

Lloyd, "Least Squares Quantization in PCM", IEEE Transactions on Information Theory, 1982 (written
in 1957), and Max, "Quantizing for Minimum Distortion", IRE Transactions, 1960: thresholds lie
halfway between codes, and codes are the means of their cells. The iteration of both conditions
ends in the optimum for a log-concave density, and in a fixed point for others.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

_CELLS = 1 << 16
_MAX_ITERATIONS = 20_000
_TOLERANCE = 1e-10  # of a code; the error is flat there


@dataclass(frozen=True, eq=False)
class Density:
    """A density that is constant in each of many narrow cells.

    Attributes:
        edges: borders of the cells, ascending.
        masses: probability of each cell; they sum to 1.
        zeroth, first: running sums of mass, and of mass times place, at the edges.
    """

    edges: Float[np.ndarray, " cells_1"]
    masses: Float[np.ndarray, " cells"]
    zeroth: Float[np.ndarray, " cells_1"] = field(init=False)
    first: Float[np.ndarray, " cells_1"] = field(init=False)

    def __post_init__(self) -> None:
        masses = self.masses / self.masses.sum()
        places = (self.edges[1:] + self.edges[:-1]) / 2
        object.__setattr__(self, "masses", masses)
        object.__setattr__(self, "zeroth", np.concatenate([[0.0], masses.cumsum()]))
        object.__setattr__(self, "first", np.concatenate([[0.0], (masses * places).cumsum()]))

    @property
    def variance(self) -> float:
        """Variance, with the width of the cells."""
        places = (self.edges[1:] + self.edges[:-1]) / 2
        widths = np.diff(self.edges)
        mean = self.first[-1]
        return float((self.masses * (places**2 + widths**2 / 12)).sum() - mean**2)

    def log_integral_of_power(self, exponent: float) -> float:
        """ln of the integral of f^exponent."""
        widths = np.diff(self.edges)
        return math.log(float(((self.masses / widths) ** exponent * widths).sum()))

    def entropy(self) -> float:
        """Differential entropy in nats."""
        present = self.masses > 0
        masses, widths = self.masses[present], np.diff(self.edges)[present]
        return float(-(masses * np.log(masses / widths)).sum())


@functools.cache
def gaussian() -> Density:
    """N(0, 1)."""
    edges = np.linspace(-9, 9, _CELLS + 1)
    return Density(edges, np.exp(-(_centres(edges) ** 2) / 2))


@functools.cache
def uniform() -> Density:
    """Uniform with unit variance."""
    edges = np.linspace(-math.sqrt(3), math.sqrt(3), _CELLS + 1)
    return Density(edges, np.ones(_CELLS))


@functools.cache
def two_gaussians(place: float, deviation: float) -> Density:
    """Half the mass in N(-place, deviation^2), half in N(place, deviation^2)."""
    reach = place + 9 * deviation
    edges = np.linspace(-reach, reach, _CELLS + 1)
    x = _centres(edges)
    masses = [np.exp(-(((x - mean) / deviation) ** 2) / 2) for mean in (-place, place)]
    return Density(edges, masses[0] + masses[1])


@functools.cache
def sphere_coordinate(dimension: int) -> Density:
    """One coordinate of a uniform point on the sphere of radius sqrt(dimension)."""
    angles = np.linspace(0, np.pi, _CELLS + 1)
    masses = np.sin(_centres(angles)) ** (dimension - 2)
    return Density(-math.sqrt(dimension) * np.cos(angles), masses)


@functools.cache
def lloyd_max(density: Density, levels: int) -> float:
    """Mean squared error of the Lloyd-Max quantizer with some number of levels, at least 1."""
    codes = np.interp((np.arange(levels) + 0.5) / levels, density.zeroth, density.edges)
    mass = moment = np.empty(0)
    for _ in range(_MAX_ITERATIONS):
        halfway = (codes[1:] + codes[:-1]) / 2
        thresholds = np.concatenate([density.edges[:1], halfway, density.edges[-1:]])
        mass = np.diff(np.interp(thresholds, density.edges, density.zeroth))
        moment = np.diff(np.interp(thresholds, density.edges, density.first))
        previous, codes = codes, moment / np.maximum(mass, 1e-300)
        if np.abs(codes - previous).max() < _TOLERANCE:
            break
    return density.variance - float((codes * moment).sum())


def scalar_quantizers(marginals: Sequence[Density], codes: float) -> float:
    """Error per dimension of one Lloyd-Max quantizer a coordinate, of at most `codes` codes in all.

    The numbers of levels are whole. They grow one by one from 1, first where a bit saves most.
    """
    levels = [1] * len(marginals)
    budget = math.log2(codes) + 1e-9

    def saving(i: int) -> float:
        now, more = (lloyd_max(marginals[i], count) for count in (levels[i], levels[i] + 1))
        return (now - more) / math.log2((levels[i] + 1) / levels[i])

    while True:
        spent = sum(map(math.log2, levels))
        affordable = [
            i for i, count in enumerate(levels) if spent + math.log2((count + 1) / count) <= budget
        ]
        if not affordable:
            errors = [lloyd_max(*pair) for pair in zip(marginals, levels, strict=True)]
            return sum(errors) / len(errors)
        levels[max(affordable, key=saving)] += 1


def _centres(edges: Float[np.ndarray, " cells_1"]) -> Float[np.ndarray, " cells"]:
    return (edges[1:] + edges[:-1]) / 2
