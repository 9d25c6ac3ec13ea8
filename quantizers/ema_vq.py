"""EMA-VQ: every code follows the moving average of the latents that choose it.

Van den Oord, Vinyals, Kavukcuoglu, "Neural Discrete Representation Learning", NeurIPS 2017,
https://arxiv.org/abs/1711.00937, appendix A.1, with the Laplace smoothing of cluster sizes in the
authors' code (Sonnet). Codes that hardly any latent chooses are revived as in SoundStream
(Zeghidour et al. 2021, https://arxiv.org/abs/2107.03312, section III-C).

Deviations: the averages start empty, so the first update gives plain cluster means; a code that no
latent has chosen yet stays where it is. SoundStream revives a code that gets fewer than two latents
per update, which presumes many latents per code; here the threshold is a share of the mean cluster
size, so it fits every batch and codebook. A revived code gets the mean cluster size, which the
smoothing does not change.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.estimators import Estimator, check_estimator, estimate
from quantizers.nearest import nearest
from quantizers.parts.losses import check_weight, commitment_loss
from quantizers.parts.pending import Pending
from quantizers.parts.processes import copy_first_process
from quantizers.registry import register


@register("ema_vq")
class EMAVQ(Quantizer):
    """A codebook without gradient: code e_i = m_i / N_i, where N_i and m_i are moving averages.

    Formula: z_q = e_k with k = argmin_j |z - e_j|^2; e_j = m_j / N_j, moving averages.

    A training forward only counts. `update` then moves the codebook, once for all forwards since
    the last update, so accumulated gradients see one codebook. It revives codes with latents of the
    last forward, drawn with torch's global generator.

    Args:
        latent_channels: channels of a code, D in the paper.
        codebook_size: number of codes, K in the paper.
        decay: gamma in the paper; 0 forgets everything before the last update.
        smoothing: epsilon of the Laplace smoothing of the cluster sizes.
        revival_threshold: a code is revived when its cluster size falls below this share of the
            mean over all codes; 0 revives no code.
        commitment_weight: beta in the paper.
        estimator: gradient of the look-up, `straight_through` as in the paper, `rotation` (Fifty et
            al. 2024) or `diveq` (Vali et al. 2025), where only the latents get their part.

    Attributes:
        cluster_sizes: N, how many latents choose each code per update.
        cluster_sums: m, the sum of these latents.
    """

    codebook: Float[Tensor, "v c"]
    cluster_sizes: Float[Tensor, " v"]
    cluster_sums: Float[Tensor, "v c"]

    def __init__(
        self,
        *,
        latent_channels: int = 8,
        codebook_size: int,
        decay: float = 0.99,
        smoothing: float = 1e-5,
        revival_threshold: float = 0.1,
        commitment_weight: float = 0.25,
        estimator: Estimator = "straight_through",
    ) -> None:
        if codebook_size < 2:
            raise ValueError(f"EMAVQ needs a codebook_size of at least 2, got {codebook_size}")
        if not 0 <= decay < 1 or not 0 <= revival_threshold < 1:
            raise ValueError(
                "EMAVQ needs decay and revival_threshold in [0, 1), "
                f"got {decay} and {revival_threshold}"
            )
        check_weight("smoothing", smoothing)
        check_weight("commitment_weight", commitment_weight)
        check_estimator(estimator, latent_channels)
        super().__init__(latent_channels=latent_channels, codebook_sizes=(codebook_size,))
        self.decay = decay
        self.smoothing = smoothing
        self.revival_threshold = revival_threshold
        self.commitment_weight = commitment_weight
        self.estimator: Estimator = estimator
        shape, bound = (codebook_size, latent_channels), 1 / codebook_size
        self.register_buffer("codebook", torch.empty(shape).uniform_(-bound, bound))
        self.register_buffer("cluster_sizes", torch.zeros(codebook_size))
        self.register_buffer("cluster_sums", torch.zeros(shape))
        # for each code, how many latents choose it, then the sum of these latents
        self.pending = Pending(codebook_size, 1 + latent_channels, latent_channels=latent_channels)

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        u = z.movedim(1, -1)
        latents = u.flatten(0, -2)
        choices = nearest(latents, self.codebook)
        if self.training:
            self._count(latents.detach(), choices)
        indices = choices.view(u.shape[:-1])
        code = F.embedding(indices, self.codebook)
        return QuantizerOutput(
            quantized=estimate(self.estimator, u, code).movedim(-1, 1),
            indices=indices.unsqueeze(1),
            losses={
                "commitment": commitment_loss(u, code, commitment_weight=self.commitment_weight)
            },
        )

    def dequantize(self, indices: Int[Tensor, "b 1 *spatial"]) -> Float[Tensor, "b c *spatial"]:
        return F.embedding(indices.squeeze(1), self.codebook).movedim(-1, 1)

    @torch.no_grad()
    def update(self) -> None:
        """Moves averages and codes, then revives codes; only after a training forward.

        In a distributed run every process calls it, with at least one latent in its last forward;
        all count together and end with one codebook.
        """
        if (pending := self.pending.take()) is None:
            return
        sums, latents = pending
        self.cluster_sizes.lerp_(sums[:, 0], 1 - self.decay)
        self.cluster_sums.lerp_(sums[:, 1:], 1 - self.decay)
        means = self.cluster_sums / self._smoothed_sizes().unsqueeze(1)
        ever_chosen = self.cluster_sizes.unsqueeze(1) > 0
        self.codebook.copy_(torch.where(ever_chosen, means, self.codebook))
        self._revive(latents)
        # each process drew from its own latents
        copy_first_process(self.codebook, self.cluster_sizes, self.cluster_sums)

    def _count(self, latents: Float[Tensor, "n c"], choices: Int[Tensor, " n"]) -> None:
        ones = torch.ones_like(latents[:, :1])
        self.pending.sums.index_add_(0, choices, torch.cat([ones, latents], dim=1))
        self.pending.latents = latents

    def _smoothed_sizes(self) -> Float[Tensor, " v"]:
        """Adds `smoothing` to each cluster size and scales the sizes to their old total."""
        total = self.cluster_sizes.sum()
        smoothed = self.cluster_sizes + self.smoothing
        return smoothed / (total + len(smoothed) * self.smoothing) * total

    def _revive(self, latents: Float[Tensor, "n c"]) -> None:
        """Moves each dead code to a latent of its own.

        Sizes and sums move along; otherwise they would undo the revival in the next update. It
        never synchronizes with the device.
        """
        mean_size = self.cluster_sizes.mean()
        dead = self.cluster_sizes < self.revival_threshold * mean_size
        available = len(latents)
        order = torch.randperm(available, device=latents.device)
        place = dead.cumsum(0) - 1  # of a dead code among the dead ones
        revived = dead & (place < available)  # without a latent, a dead code waits
        latents = latents[order[place.clamp(0, available - 1)]]
        self.cluster_sizes[:] = torch.where(revived, mean_size, self.cluster_sizes)
        revived = revived.unsqueeze(1)
        self.codebook[:] = torch.where(revived, latents, self.codebook)
        self.cluster_sums[:] = torch.where(revived, mean_size * latents, self.cluster_sums)
