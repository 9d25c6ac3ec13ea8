"""Originals above their reconstructions, as one PNG a person can look at."""

from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from bench.atomic_files import replacing

_COLUMNS = 16
_SIDE = 96  # pixels an image is enlarged to, so that 32 px can be seen


def save_comparison(
    path: Path,
    images: UInt8[Tensor, "n 3 H W"],
    reconstruction: UInt8[Tensor, "n 3 H W"],
) -> None:
    """Writes a grid of evenly spaced test images: originals in the first row, results below."""
    from PIL import Image

    chosen = torch.linspace(0, len(images) - 1, min(_COLUMNS, len(images))).long()
    scale = max(1, _SIDE // images.shape[-1])
    rows = [torch.cat(list(part[chosen]), dim=2) for part in (images, reconstruction)]
    grid = torch.cat(rows, dim=1).repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    with replacing(path) as temporary:
        Image.fromarray(grid.permute(1, 2, 0).contiguous().numpy()).save(temporary, format="PNG")
