"""Statistics that training forwards collect for the next `update`."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quantizers.parts.processes import add_processes


class Pending(nn.Module):
    """Sums over the latents since the last update, and the latents of the last training forward.

    It has no saved state.

    Args:
        shape: shape of `sums`.
        latent_channels: channels of a latent.
    """

    sums: Float[Tensor, "*shape"]
    latents: Float[Tensor, "n c"]

    def __init__(self, *shape: int, latent_channels: int) -> None:
        super().__init__()
        self.register_buffer("sums", torch.zeros(shape), persistent=False)
        self.register_buffer("latents", torch.empty(0, latent_channels), persistent=False)

    def take(self) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n c"]] | None:
        """Sums over all processes and this process's latents, then forgets both.

        Without a training forward since the last call, or if the last one had no latents, None.
        """
        if len(self.latents) == 0:
            return None
        sums, latents = self.sums, self.latents
        add_processes(sums)
        self.sums, self.latents = torch.zeros_like(sums), latents.new_empty(0, latents.shape[1])
        return sums, latents
