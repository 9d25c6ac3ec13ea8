"""Densities of one coordinate of a source, with unit or known variance, in float64."""

import functools
import math

import numpy as np
from jaxtyping import Float

_CELLS = 1 << 16


class Density:
    """A density that is constant in each of many narrow cells, so all its integrals are exact.

    Attributes:
        edges: borders of the cells, ascending.
        centres: centre of each cell.
        masses: probability of each cell; they sum to 1.
        heights: the density in each cell.
        zeroth, first: integrals of f(x) and of x f(x) up to the edges.
    """

    def __init__(
        self, edges: Float[np.ndarray, " cells_1"], masses: Float[np.ndarray, " cells"]
    ) -> None:
        self.edges = edges
        self.centres = _centres(edges)
        self.masses = masses / masses.sum()
        self.heights = self.masses / np.diff(edges)
        self.zeroth = np.concatenate([[0.0], self.masses.cumsum()])
        self.first = np.concatenate([[0.0], (self.masses * self.centres).cumsum()])

    @functools.cached_property
    def variance(self) -> float:
        """Variance, including the width of the cells."""
        widths, mean = np.diff(self.edges), self.first[-1]
        return float((self.masses * (self.centres**2 + widths**2 / 12)).sum() - mean**2)

    @functools.cached_property
    def companded(self) -> Float[np.ndarray, " cells_1"]:
        """The integral of f^(1/3) up to the edges, as a share of the total."""
        sums = (np.cbrt(self.heights) * np.diff(self.edges)).cumsum()
        return np.concatenate([[0.0], sums / sums[-1]])

    def up_to(
        self, places: Float[np.ndarray, " n"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """The integrals `zeroth` and `first` up to places within the edges."""
        cells = np.searchsorted(self.edges, places, side="right") - 1
        cells = cells.clip(0, len(self.masses) - 1)
        starts = self.edges[cells]
        mass = self.heights[cells] * (places - starts)
        moment = mass * (places + starts) / 2
        return self.zeroth[cells] + mass, self.first[cells] + moment

    def log_integral_of_power(self, exponent: float) -> float:
        """ln of the integral of f^exponent."""
        return math.log(float((self.heights**exponent * np.diff(self.edges)).sum()))

    def entropy(self) -> float:
        """Differential entropy in nats."""
        present = self.masses > 0
        return float(-(self.masses[present] * np.log(self.heights[present])).sum())


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


def _centres(edges: Float[np.ndarray, " cells_1"]) -> Float[np.ndarray, " cells"]:
    return (edges[1:] + edges[:-1]) / 2
