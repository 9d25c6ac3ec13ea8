"""The nearest code by all distances in float64: what every exact search must find."""

import torch
from torch import Tensor


def problem(size: tuple[int, int, int], seed: int) -> tuple[Tensor, Tensor]:
    """Normal latents (n, d) and codes (v, d)."""
    n, v, d = size
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator), torch.randn(v, d, generator=generator)


def nearest_of_all(latents: Tensor, codebook: Tensor, *, spherical: bool = False) -> Tensor:
    """The lowest index of the smallest distance; zero rows as `nearest` defines them."""
    if not spherical:
        return _squares(latents, codebook).argmin(dim=1)
    distances = _squares(_directions(latents), _directions(codebook))
    if not codebook.any(dim=1).all():
        distances[latents.double() @ codebook.double().T == 0] = 2
    distances[~latents.any(dim=1)] = 2
    return distances.argmin(dim=1)


def _squares(latents: Tensor, codebook: Tensor) -> Tensor:
    return (latents.double()[:, None] - codebook.double()).square().sum(dim=-1)


def _directions(rows: Tensor) -> Tensor:
    """Unit vectors; the largest element is brought to 1 first, so that multiples tie exactly."""
    largest = rows.double().abs().amax(dim=1, keepdim=True)
    scaled = rows.double() / torch.where(largest > 0, largest, 1)
    return scaled / scaled.square().sum(dim=1, keepdim=True).sqrt().clamp_min(1)


def problem_with_ties(shape, seed):
    """Latents, codes some of which are there twice, and which latents are nearest to such codes."""
    latents, codebook = problem(shape, seed=seed)
    code = nearest_of_all(latents, codebook)
    first = code[: len(code) // 2]
    tied = (code[:, None] == first).any(dim=1)
    return latents, torch.cat([codebook, codebook[first.unique()]]), tied


def permutations_of_a_code(channels, seed):
    """Codes at one distance from zero, which not every order of summation finds equal."""
    generator = torch.Generator().manual_seed(seed)
    code = torch.rand(1, channels, generator=generator) ** 3  # squares of many magnitudes
    orders = [torch.randperm(channels, generator=generator) for _ in range(50)]
    return torch.cat([code[:, order] for order in orders])
