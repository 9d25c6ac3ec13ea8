"""DINOv2 as torchvision's vision transformer, from a file of published weights.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023,
https://arxiv.org/abs/2304.07193. Frechet distances of its class token were proposed by Stein et
al., "Exposing flaws of generative model evaluation metrics and their unfair treatment of diffusion
models", NeurIPS 2023, https://arxiv.org/abs/2306.04675.

torch-fidelity 0.4 downloads both code and weights. The architecture is the usual vision transformer
with two differences, which are folded into the weights here:

- LayerScale multiplies the output of each attention and each MLP by a learned vector. The linear
  layer before it absorbs that factor.
- Positions were learned on a grid of 37 x 37 patches. They are resampled to 16 x 16 (224 px) as the
  authors do: bicubic, with 0.1 added to the new side, which shifts the sampling points slightly.

ViT-g has a gated MLP (SwiGLU; Shazeer, "GLU Variants Improve Transformer", 2020,
https://arxiv.org/abs/2002.05202, equation 6, with biases), which replaces torchvision's. Models
with registers have another architecture and are refused.
"""

import math
import pickle
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from models.weights import WeightFile

IMAGE_SIDE = 224  # pixels, as torch-fidelity resizes for DINOv2
_HEAD_CHANNELS = 64
_POSITION_OFFSET = 0.1


def read_weights(file: WeightFile, *, width: int) -> dict[str, Tensor]:
    """Reads a published state dict as plain tensors, since no SHA-256 of it is published.

    Raises:
        FileNotFoundError: the file is not on this machine.
        ValueError: it holds something else than a model of `width` channels.
    """
    path = file.checked_path(otherwise="choose the extractor 'scattering'")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        channels = weights["cls_token"].shape[-1]
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError):
        raise ValueError(
            f"{path} does not hold {file.name} as plain tensors; delete it and get it again from "
            f"{file.url}"
        ) from None
    if channels != width:
        raise ValueError(f"{path} is not {file.name}: {channels} channels, expected {width}")
    return weights


def vision_transformer(weights: Mapping[str, Tensor]) -> nn.Module:
    """Builds the network in eval mode: normalised images (b, 3, 224, 224) to class tokens (b, d).

    Args:
        weights: the published state dict, which also sets width and depth.

    Raises:
        ValueError: these are not the weights of a DINOv2 without registers.
    """
    depth = sum(key.startswith("blocks.") and key.endswith(".norm1.weight") for key in weights)
    try:
        if "register_tokens" in weights:
            raise ValueError("a DINOv2 with registers is another model; expected one without")
        width, patch = weights["cls_token"].shape[-1], weights["patch_embed.proj.weight"].shape[-1]
        state = {
            "class_token": weights["cls_token"],
            "conv_proj.weight": weights["patch_embed.proj.weight"],
            "conv_proj.bias": weights["patch_embed.proj.bias"],
            "encoder.pos_embedding": resample_positions(weights["pos_embed"], IMAGE_SIDE // patch),
            "encoder.ln.weight": weights["norm.weight"],
            "encoder.ln.bias": weights["norm.bias"],
        }
        for block in range(max(depth, 1)):
            state |= _block(weights, f"blocks.{block}", f"encoder.layers.encoder_layer_{block}")
    except KeyError as error:
        raise ValueError(
            f"expected the weights of a DINOv2 ViT-S, -B, -L or -g, but {error} is missing"
        ) from None
    from torchvision.models import VisionTransformer  # takes seconds to import

    reduce = "encoder.layers.encoder_layer_0.mlp.reduce.weight"  # only a gated MLP has it
    with torch.device("meta"):  # draws no random weights
        network = VisionTransformer(
            image_size=IMAGE_SIDE,
            patch_size=patch,
            num_layers=depth,
            num_heads=width // _HEAD_CHANNELS,
            hidden_dim=width,
            mlp_dim=4 * width,
        )
        if reduce in state:
            for layer in network.encoder.layers:
                layer.mlp = _GatedMLP(width, state[reduce].shape[1])
    network.heads = nn.Identity()
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)


def resample_positions(positions: Float[Tensor, "1 n d"], side: int) -> Float[Tensor, "1 m d"]:
    """Resamples the position vectors of the class token and a square grid to another side."""
    old = math.isqrt(positions.shape[1] - 1)
    if old == side:
        return positions
    grid = positions[:, 1:].unflatten(1, (old, old)).permute(0, 3, 1, 2)
    scale = (side + _POSITION_OFFSET) / old
    grid = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def _block(weights: Mapping[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    """One transformer block under torchvision's names, with LayerScale folded in."""
    state: dict[str, Tensor] = {}
    gated = f"{old}.mlp.w12.weight" in weights
    first, last = ("expand", "reduce") if gated else ("0", "3")
    first_old, last_old = ("w12", "w3") if gated else ("fc1", "fc2")
    for part in ("weight", "bias"):
        state |= {
            f"{new}.ln_1.{part}": weights[f"{old}.norm1.{part}"],
            f"{new}.self_attention.in_proj_{part}": weights[f"{old}.attn.qkv.{part}"],
            f"{new}.ln_2.{part}": weights[f"{old}.norm2.{part}"],
            f"{new}.mlp.{first}.{part}": weights[f"{old}.mlp.{first_old}.{part}"],
        }
        for scale, linear, target in (
            ("ls1", "attn.proj", "self_attention.out_proj"),
            ("ls2", f"mlp.{last_old}", f"mlp.{last}"),
        ):
            factor = weights[f"{old}.{scale}.gamma"]
            value = weights[f"{old}.{linear}.{part}"]
            state[f"{new}.{target}.{part}"] = factor.view(-1, *(1,) * (value.ndim - 1)) * value
    return state


class _GatedMLP(nn.Module):
    """SwiGLU: silu of the first half of the hidden channels times the second half."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, 2 * hidden)
        self.reduce = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        gate, value = self.expand(x).chunk(2, dim=-1)
        return self.reduce(F.silu(gate) * value)
