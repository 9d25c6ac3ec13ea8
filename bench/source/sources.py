"""Distributions with known rate-distortion functions, of mean 0 and variance 1 per dimension.

D(R) below is Shannon's: the least mean squared error per dimension at R bits per dimension, over
codes of every length (Cover, Thomas, "Elements of Information Theory", chapter 10).
"""

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bench.source.density import Density, gaussian, sphere_coordinate, two_gaussians, uniform

_ANGLES = 20_000  # of the midpoint rule


class Source(ABC):
    """Independent draws from one distribution in `dimension` dimensions."""

    name: str
    bound: str  # how `shannon` relates to D(R), for the reader of a table

    def __init__(self, dimension: int) -> None:
        if dimension < 2:
            raise ValueError(f"source {self.name} needs dimension >= 2, got {dimension}")
        self.dimension = dimension

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """Draws vectors."""

    @abstractmethod
    def shannon(self, rate: float) -> float:
        """D(R) or a lower bound of it, at a rate in bits per dimension."""

    @abstractmethod
    def marginals(self) -> tuple[Density, ...]:
        """The density of each coordinate."""

    def zador(self, rate: float) -> float:
        """The limit of the least error of a fixed-rate code of n dimensions as R grows, or less.

        Zador, "Asymptotic Quantization Error of Continuous Signals and the Quantization
        Dimension", IEEE Transactions on Information Theory, 1982. It is G ||f||_(n / (n + 2))
        2^(-2R), with the moment of a ball for the unknown G; here for independent coordinates.
        """
        n = self.dimension
        exponent = n / (n + 2)
        logs = sum(density.log_integral_of_power(exponent) for density in self.marginals())
        return ball_moment(n) * math.exp(logs / exponent) * 2 ** (-2 * rate)


class Gaussian(Source):
    """N(0, I), where D(R) = 2^(-2R)."""

    name = "gaussian"
    bound = "D(R), exact"

    def sample(self, count: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        return torch.randn(count, self.dimension, generator=generator)

    def shannon(self, rate: float) -> float:
        return 2 ** (-2 * rate)

    def marginals(self) -> tuple[Density, ...]:
        return (gaussian(),) * self.dimension


class Cube(Source):
    """Uniform in a cube of side sqrt(12).

    Its entropy is log2 sqrt(12) bits per dimension, so Shannon's lower bound of D(R) is
    12 / (2 pi e) 2^(-2R).
    """

    name = "cube"
    bound = "Shannon's lower bound of D(R)"

    def sample(self, count: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        return (torch.rand(count, self.dimension, generator=generator) - 0.5) * math.sqrt(12)

    def shannon(self, rate: float) -> float:
        return 12 / (2 * math.pi * math.e) * 2 ** (-2 * rate)

    def marginals(self) -> tuple[Density, ...]:
        return (uniform(),) * self.dimension


class Sphere(Source):
    """Uniform on the sphere of radius sqrt(n).

    The best test channel has codes uniform on a smaller sphere and, around a code, the von
    Mises-Fisher distribution, which has the largest entropy for its mean. With
    concentration k and mean length A(k) on the unit sphere, R = k A(k) - ln(Z(k) / Z(0)) nats for
    n dimensions and D = 1 - A(k)^2. No other channel is better, since that entropy is a concave
    function of A^2: its slope -k / (2 A(k)) falls as k grows.
    """

    name = "sphere"
    bound = "D(R), exact"

    def sample(self, count: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        normal = torch.randn(count, self.dimension, generator=generator)
        return torch.nn.functional.normalize(normal, dim=-1) * math.sqrt(self.dimension)

    def shannon(self, rate: float) -> float:
        nats = rate * self.dimension * math.log(2)
        low, high = 0.0, 1.0
        while self._channel(high)[0] < nats:
            low, high = high, 4 * high
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self._channel(middle)[0] < nats else (low, middle)
        return self._channel(high)[1]

    def _channel(self, concentration: float) -> tuple[float, float]:
        """Rate in nats for all dimensions, and distortion, of the test channel."""
        n, k = self.dimension, concentration
        width = min(math.pi, 20 / math.sqrt(k + 1))  # further away there is no mass
        angles = width * (np.arange(_ANGLES) + 0.5) / _ANGLES
        lost = 2 * np.sin(angles / 2) ** 2  # 1 - cosine
        mass = np.sin(angles) ** (n - 2) * np.exp(-k * lost)
        total = float(mass.sum())
        one_minus_a = float((mass * lost).sum()) / total
        log_z = math.log(total * width / _ANGLES)  # without the factor exp(k)
        log_z0 = math.log(math.pi) / 2 + math.lgamma((n - 1) / 2) - math.lgamma(n / 2)
        return log_z0 - log_z - k * one_minus_a, one_minus_a * (2 - one_minus_a)

    def marginals(self) -> tuple[Density, ...]:
        return (sphere_coordinate(self.dimension),) * self.dimension

    def zador(self, rate: float) -> float:
        n, m = self.dimension, self.dimension - 1  # a surface of n - 1 dimensions
        log_area = (
            math.log(2) + n / 2 * math.log(math.pi) - math.lgamma(n / 2) + m / 2 * math.log(n)
        )
        return m / n * ball_moment(m) * math.exp(2 / m * (log_area - n * rate * math.log(2)))


class Mixture(Source):
    """Four equal clusters N(m, I / 4) with m = (+-a, +-a, 0, ..., 0).

    The clusters carry three quarters of the variance: a^2 = 3 n / 8. For every D up to 1/4 the
    source is a variable plus N(0, D I), so there D(R) equals Shannon's lower bound; for larger D it
    is only a bound.
    """

    name = "mixture"
    bound = "Shannon's lower bound, which is D(R) where it is below 1/4"

    @property
    def _place(self) -> float:
        return math.sqrt(3 * self.dimension / 8)

    def sample(self, count: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        x = torch.randn(count, self.dimension, generator=generator) / 2
        x[:, :2] += self._place * torch.randint(2, (count, 2), generator=generator).mul(2).sub(1)
        return x

    def shannon(self, rate: float) -> float:
        entropy = sum(density.entropy() for density in self.marginals()) / self.dimension
        return math.exp(2 * entropy) / (2 * math.pi * math.e) * 2 ** (-2 * rate)

    def marginals(self) -> tuple[Density, ...]:
        clustered = two_gaussians(self._place, 0.5)
        return (clustered,) * 2 + (two_gaussians(0.0, 0.5),) * (self.dimension - 2)


SOURCES: dict[str, type[Source]] = {
    source.name: source for source in (Gaussian, Cube, Sphere, Mixture)
}


def ball_moment(dimension: int) -> float:
    """Normalised second moment of a ball, per dimension: the smallest that any cell can have.

    Conway, Sloane, "Sphere Packings, Lattices and Groups", chapter 2, section 3.
    """
    n = dimension
    return math.exp(2 / n * math.lgamma(n / 2 + 1)) / ((n + 2) * math.pi)
