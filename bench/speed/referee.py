"""Whether a search found the nearest codes: float64 on some rows, the best of all on the others.

Margin rule: a code may be further than the nearest by 1e-5 of its squared distance, or by what
float32 cannot resolve in |x|^2 - 2 <x, c> + |c|^2, the form that most libraries compute.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

_ROWS = 256  # searched in float64
_RELATIVE = 1e-5
_RESOLUTION = 2.0**-20  # of the squared lengths; float32 has 24 bits
_TILE_NUMBERS = 1 << 22


class Referee:
    """Judges searches of the same latents and codes by the distances of what they found.

    Args:
        latents: the queries.
        codes: the codebook.
        spherical: compare directions.
    """

    def __init__(
        self, latents: Float[Tensor, "n d"], codes: Float[Tensor, "v d"], *, spherical: bool = False
    ) -> None:
        self._latents, self._codes = latents.double(), codes.double()
        if spherical:
            self._latents = F.normalize(self._latents, dim=1)
            self._codes = F.normalize(self._codes, dim=1)
        self._least = self._latents.new_full((len(latents),), torch.inf)
        rows = torch.linspace(0, len(latents) - 1, min(_ROWS, len(latents))).long()
        rows = rows.to(latents.device)
        self._least[rows] = self._brute_force(rows)

    def learn(self, indices: Int[Tensor, " m"]) -> None:
        """Takes over what is nearer than all that is known so far."""
        self._least = torch.minimum(self._least, self._distances(indices))

    def wrong(self, indices: Int[Tensor, " m"]) -> int:
        """How many rows have a code further than the nearest known by more than the margin."""
        lengths = self._latents.square().sum(dim=1) + self._codes.square().sum(dim=1).mean()
        margin = torch.maximum(_RELATIVE * self._least, _RESOLUTION * lengths)
        return int((self._distances(indices) > self._least + margin).sum())

    def _distances(self, indices: Int[Tensor, " m"]) -> Float[Tensor, " n"]:
        """Squared distances to the codes found; infinite where there is no such code or row."""
        if indices.shape != self._least.shape:
            return torch.full_like(self._least, torch.inf)
        known = (indices >= 0) & (indices < len(self._codes))
        codes = self._codes[torch.where(known, indices, 0)]
        distances = (self._latents - codes).square().sum(dim=1)
        return torch.where(known, distances, torch.inf)

    def _brute_force(self, rows: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
        size = max(1, _TILE_NUMBERS // len(self._codes))
        least = [
            torch.cdist(
                self._latents[part], self._codes, compute_mode="use_mm_for_euclid_dist"
            ).amin(dim=1)
            for part in rows.split(size)
        ]
        return torch.cat(least).square()
