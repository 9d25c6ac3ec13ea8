"""The uint8 images that every metric reads: conversion from and to [-1, 1], and checks of a pair.

All metrics of the judge start from the same rounded bytes, as image files would hold them. Rounding
matters: truncation would change pixels even for an identity decoder, since (x + 1) * 127.5 falls
just below an integer for many values.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

_CHUNK_VALUES = 3 << 18  # about 0.8 million pixel values at a time, 6 MiB in float64


def to_uint8(images: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Converts images from [-1, 1] to bytes: clamp, then round to the nearest of 256 levels.

    Args:
        images: any shape and float dtype. Values outside [-1, 1], also infinite ones, are clamped.

    Raises:
        ValueError: a value is NaN.
    """
    if images.isnan().any():
        raise ValueError(
            f"images of shape {tuple(images.shape)} contain NaN, which no uint8 can hold; "
            "the model that made them has diverged"
        )
    levels = (images.float().clamp(-1, 1) + 1) * 127.5  # bfloat16 cannot represent 256 levels
    return levels.round().to(torch.uint8)


def to_float(images: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Converts bytes to float32 in [-1, 1]: 0 becomes -1 and 255 becomes 1."""
    return images.float() / 127.5 - 1


def check_images(images: Tensor, role: str) -> None:
    """Raises unless it gets a non-empty uint8 stack of RGB images; errors name its role.

    Raises:
        TypeError: not uint8.
        ValueError: not of shape (n, 3, h, w), or empty.
    """
    if images.dtype != torch.uint8:
        raise TypeError(
            f"{role} images must be uint8, got {images.dtype}; convert floats in [-1, 1] with "
            "bench.metrics.to_uint8"
        )
    if images.ndim != 4 or images.shape[1] != 3 or images.numel() == 0:
        raise ValueError(
            f"{role} images must have shape (n, 3, h, w) with n, h, w at least 1, "
            f"got {tuple(images.shape)}"
        )


def check_pair(reference: Tensor, reconstruction: Tensor) -> None:
    """Raises unless it gets two uint8 stacks of RGB images of equal shape.

    Raises:
        TypeError, ValueError: see `check_images`; ValueError also when the two shapes differ.
    """
    check_images(reference, "reference")
    check_images(reconstruction, "reconstruction")
    if reference.shape != reconstruction.shape:
        raise ValueError(
            "each reconstruction is compared with its own original, so shapes must be equal: "
            f"reference {tuple(reference.shape)}, reconstruction {tuple(reconstruction.shape)}"
        )


def paired_chunks(
    reference: UInt8[Tensor, "n 3 h w"], reconstruction: UInt8[Tensor, "n 3 h w"]
) -> Iterator[tuple[UInt8[Tensor, "m 3 h w"], UInt8[Tensor, "m 3 h w"]]]:
    """Yields both stacks in small aligned chunks, so that no set is converted as a whole."""
    images_per_chunk = max(1, _CHUNK_VALUES // reference[0].numel())
    yield from zip(
        reference.split(images_per_chunk), reconstruction.split(images_per_chunk), strict=True
    )
