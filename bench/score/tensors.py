"""Scores images in memory: tensors, or the output of a function."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from bench.evaluate import PIXELS_PER_BATCH, Evaluation
from bench.metrics import CodebookReport, CodebookStatistics, to_float, to_uint8
from bench.metrics.pixels import check_images, check_pair
from bench.score.judge import build_judge

_FUNCTION_BATCH = 16


def score(
    images: UInt8[Tensor, "n 3 h w"],
    reconstruction: UInt8[Tensor, "n 3 h w"],
    *,
    indices: Int[Tensor, "m k *spatial"] | None = None,
    codebook_sizes: Sequence[int] = (),
    **judge: Any,
) -> Evaluation:
    """Scores reconstructions against their originals.

    Args:
        images: originals.
        reconstruction: in the same order.
        indices: of the codes behind the reconstructions, if codebooks are to be judged too.
        codebook_sizes: codes in each codebook of `indices`.
        judge: `extractor`, `perceptual`, `metrics` and `device`, see `build_judge`.

    Raises:
        TypeError, ValueError: not two equal uint8 stacks of at least 2 images; indices of another
            number, type or range; an unknown name; or too few or too small images for a metric.
        FileNotFoundError: weights that were asked for are not on this machine.
    """
    check_pair(images, reconstruction)
    codebooks = count_codes(indices, codebook_sizes, images=len(images))
    size = max(1, PIXELS_PER_BATCH // images[0, 0].numel())
    pairs = zip(images.split(size), reconstruction.split(size), strict=True)
    return build_judge(**judge).evaluate(pairs, images=len(images), codebooks=codebooks)


def score_function(
    reconstruct: Callable[[Float[Tensor, "b 3 h w"]], Float[Tensor, "b 3 h w"]],
    images: UInt8[Tensor, "n 3 h w"],
    **judge: Any,
) -> Evaluation:
    """Scores what a function makes of images in [-1, 1]; its output is rounded to bytes.

    Args:
        reconstruct: is called with batches of images, float32 in [-1, 1].
        images: originals.
        judge: see `score`.

    Raises:
        TypeError, ValueError, FileNotFoundError: as `score`; also after the first batch if the
            function does not return a float tensor of the shape that it got.
    """
    check_images(images, "original")
    with torch.inference_mode():
        batches = [_reconstructed(reconstruct, batch) for batch in images.split(_FUNCTION_BATCH)]
    return score(images, torch.cat(batches), **judge)


def _reconstructed(
    reconstruct: Callable[[Tensor], Tensor], images: UInt8[Tensor, "n 3 h w"]
) -> UInt8[Tensor, "n 3 h w"]:
    """One batch; checked, since the function is the user's."""
    result: object = reconstruct(to_float(images))
    if not isinstance(result, Tensor):
        raise TypeError(
            f"the function must give a tensor of images in [-1, 1], got {type(result).__name__}; "
            "a model of diffusers has it in .sample"
        )
    if result.shape != images.shape:
        raise ValueError(
            f"the function got images of shape {tuple(images.shape)} and gave "
            f"{tuple(result.shape)}; expected one reconstruction of the same size for each"
        )
    return to_uint8(result.cpu())


def count_codes(
    indices: Int[Tensor, "m k *spatial"] | None, codebook_sizes: Sequence[int], *, images: int
) -> CodebookReport:
    """How the codes behind the images were used; an empty report without indices.

    Raises:
        ValueError: indices without sizes, sizes without indices, or another number of images.
    """
    statistics = CodebookStatistics(codebook_sizes)
    if (indices is None) != (not codebook_sizes):
        raise ValueError("indices and codebook_sizes are given together, or neither")
    if indices is not None:
        if len(indices) != images:
            raise ValueError(f"got indices of {len(indices)} images for {images} images")
        statistics.add(indices)
    return statistics.result()
