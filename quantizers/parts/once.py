"""Starting codes from latents: once, in the first `update` after a training forward."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Once(nn.Module):
    """Collects the latents that a codebook starts from, until it has started.

    It has no saved state: the method owns the buffer that says whether its codes have started.
    This buffer is read at most once after a start or a load, because reading it synchronizes.

    Args:
        latent_channels: channels of a latent.
        all_forwards: collect latents of all training forwards before the start, not only those of
            the last one.
    """

    latents: Float[Tensor, "n c"]

    def __init__(self, latent_channels: int, *, all_forwards: bool = False) -> None:
        super().__init__()
        self.all_forwards = all_forwards
        self.register_buffer("latents", torch.empty(0, latent_channels), persistent=False)
        self._known_to_have_started = False

    def collect(self, latents: Float[Tensor, "n c"]) -> None:
        """Call it in every training forward."""
        if not self._known_to_have_started:
            latents = latents.detach()
            self.latents = torch.cat([self.latents, latents]) if self.all_forwards else latents

    def take(self, started: Bool[Tensor, ""]) -> Float[Tensor, "n c"] | None:
        """The latents to start from now, once; sets `started`. Otherwise None."""
        latents, self.latents = self.latents, self.latents.new_empty(0, self.latents.shape[1])
        if self._known_to_have_started or len(latents) == 0:
            return None
        self._known_to_have_started = True
        if started:
            return None
        started.fill_(True)
        return latents

    def _load_from_state_dict(self, *arguments: object) -> None:
        super()._load_from_state_dict(*arguments)
        self._known_to_have_started = False
