"""FVQ (VQBridge): a small transformer sees the whole codebook and emits the codes that are used.

Chang et al., "Scalable Training for Vector-Quantized Networks with 100% Codebook Utilization",
2025, https://arxiv.org/abs/2509.10140: the codebook C of VQ becomes Bridge(C). The bridge
compresses C to a few tokens, processes them in ViT blocks and recovers codes of the old shape. Only
the abstract and notes on the method could be read, neither the paper nor the released code. Number,
heads and MLPs of the blocks are those of an independent implementation. Unlike there, no norm
follows the last block, and norms have weights.

Deviations: the paper adds learning annealing, a schedule of the learning rate; that belongs to the
trainer. The paper's bridge sizes for each codebook size could not be read, so none is a default. C
starts normal, and the layers start as torch initializes them.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.parts.look_up import nearest_code
from quantizers.parts.losses import check_weight
from quantizers.registry import register


@register("fvq")
class FVQ(Quantizer):
    """VQ with the codebook Bridge(C): codes share the bridge, so the gradient of one moves all.

    Formula: z_q = e_k with k = argmin_j |z - e_j|^2 and e = Bridge(C).

    C and the bridge are trained; after training only the codes are needed, not the bridge.

    Args:
        latent_channels: channels of a code, d in the paper.
        codebook_size: number of codes, K in the paper.
        bridge_tokens: number of tokens that the codebook is compressed to, p in the paper. It must
            divide `codebook_size`; each token stands for codebook_size / p consecutive codes.
        bridge_channels: width of a token in the bridge.
        bridge_blocks: number of ViT blocks.
        bridge_heads: attention heads of a block; they must divide `bridge_channels`.
        commitment_weight: beta of VQ.

    Attributes:
        core: the trained table C.
    """

    core: Float[Tensor, "v c"]

    def __init__(
        self,
        *,
        latent_channels: int = 8,
        codebook_size: int,
        bridge_tokens: int,
        bridge_channels: int,
        bridge_blocks: int = 2,
        bridge_heads: int = 4,
        commitment_weight: float = 0.25,
    ) -> None:
        if codebook_size < 2 or bridge_tokens < 1 or codebook_size % bridge_tokens:
            raise ValueError(
                "FVQ needs a codebook_size of at least 2 and bridge_tokens >= 1 that divide it, "
                f"got {codebook_size} and {bridge_tokens}"
            )
        if bridge_blocks < 1 or bridge_heads < 1 or bridge_channels < 1:
            raise ValueError(
                "FVQ needs bridge_blocks >= 1, bridge_heads >= 1 and bridge_channels >= 1, got "
                f"{bridge_blocks}, {bridge_heads} and {bridge_channels}"
            )
        if bridge_channels % bridge_heads:
            raise ValueError(
                "FVQ needs bridge_heads that divide bridge_channels, "
                f"got {bridge_heads} and {bridge_channels}"
            )
        check_weight("commitment_weight", commitment_weight)
        super().__init__(latent_channels=latent_channels, codebook_sizes=(codebook_size,))
        self.commitment_weight = commitment_weight
        self.core = nn.Parameter(torch.randn(codebook_size, latent_channels))
        row = codebook_size // bridge_tokens * latent_channels
        self.compress = nn.Linear(row, bridge_channels)
        self.positions = nn.Parameter(0.02 * torch.randn(bridge_tokens, bridge_channels))
        self.process = nn.Sequential(
            *(_Block(bridge_channels, bridge_heads) for _ in range(bridge_blocks))
        )
        self.recover = nn.Linear(bridge_channels, row)

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        return nearest_code(
            z,
            self.codebook,
            commitment_weight=self.commitment_weight,
            estimator="straight_through",
        )

    def dequantize(self, indices: Int[Tensor, "b 1 *spatial"]) -> Float[Tensor, "b c *spatial"]:
        return F.embedding(indices.squeeze(1), self.codebook).movedim(-1, 1)

    @property
    def codebook(self) -> Float[Tensor, "v c"]:
        """The codes Bridge(C), in float32 even when decoding under autocast."""
        with torch.autocast(self.core.device.type, enabled=False):
            tokens = self.compress(self.core.view(len(self.positions), -1)) + self.positions
            return self.recover(self.process(tokens)).view_as(self.core)


class _Block(nn.Module):
    """A ViT block: attention and an MLP of twice the width, each after a norm."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.queries_keys_values = nn.Linear(channels, 3 * channels)
        self.attended = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )

    def forward(self, x: Float[Tensor, "p h"]) -> Float[Tensor, "p h"]:
        x = x + self.attended(self._attend(self.attention_norm(x)))
        return x + self.mlp(self.mlp_norm(x))

    def _attend(self, x: Float[Tensor, "p h"]) -> Float[Tensor, "p h"]:
        """Written out, because a fused kernel may round differently in eval and in training."""
        parts = self.queries_keys_values(x).unflatten(-1, (3, self.heads, -1))
        q, k, v = parts.permute(1, 2, 0, 3).unbind()
        weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
        return (weights @ v).transpose(0, 1).flatten(1)
