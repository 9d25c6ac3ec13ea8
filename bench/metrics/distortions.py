"""Synthetic damage of growing strength, to test whether a metric grows with it.

Each distortion imitates one way in which a codec or a tokenizer fails. All are deterministic and
keep uint8. Each has one strength, and the error grows with it from nearly zero. Strengths have
different units, so `damaged_equally` finds the ones that do equal damage.
"""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from bench.metrics.image import pooled_psnr_db, ssim

DAMAGES = (0.016, 0.028, 0.05, 0.09, 0.16)  # five severities, see `damage`
_SEED = 0
_BLOCK = 8  # pixels, as in JPEG
_TOKEN = 4  # pixels; the patch of one position of a tokenizer with downsampling 4
_TINT = (1.0, -0.5, -0.5)  # towards red; the mean of the channels stays
_BISECTIONS = 11


@dataclass(frozen=True, kw_only=True)
class Distortion:
    """One kind of damage.

    Attributes:
        name: for tables.
        apply: damages images with a given strength.
        weakest: strength with almost no error.
        strongest: strength with at least the largest error that a validation asks for.
    """

    name: str
    apply: Callable[[UInt8[Tensor, "n 3 h w"], float], UInt8[Tensor, "n 3 h w"]]
    weakest: float
    strongest: float


def damaged_equally(
    distortion: Distortion, images: UInt8[Tensor, "n 3 h w"], damages: Sequence[float]
) -> list[UInt8[Tensor, "n 3 h w"]]:
    """The images, damaged once for each requested `damage`.

    The strength is found on every fourth image by bisection of its logarithm.

    Raises:
        ValueError: no strength reaches a requested damage.
    """
    return [distortion.apply(images, _strength(distortion, images[::4], d)) for d in damages]


def damage(reference: UInt8[Tensor, "n 3 h w"], reconstruction: UInt8[Tensor, "n 3 h w"]) -> float:
    """Geometric mean of the RMSE over all pixels (peak value 1) and of 1 - mean SSIM."""
    rmse = 10 ** (-pooled_psnr_db(reference, reconstruction) / 20)
    return math.sqrt(rmse * max(0.0, 1 - ssim(reference, reconstruction).mean().item()))


def _strength(distortion: Distortion, images: UInt8[Tensor, "n 3 h w"], wanted: float) -> float:
    weak, strong = distortion.weakest, distortion.strongest
    if damage(images, distortion.apply(images, strong)) < wanted:
        raise ValueError(f"{distortion.name} cannot damage these images by {wanted}")
    for _ in range(_BISECTIONS):
        middle = math.sqrt(weak * strong)
        if damage(images, distortion.apply(images, middle)) < wanted:
            weak = middle
        else:
            strong = middle
    return strong


def add_noise(images: UInt8[Tensor, "n 3 h w"], sigma: float) -> UInt8[Tensor, "n 3 h w"]:
    """White Gaussian noise with a standard deviation in levels."""
    return _as_bytes(images + sigma * _normal(tuple(images.shape)))


def blur(images: UInt8[Tensor, "n 3 h w"], sigma: float) -> UInt8[Tensor, "n 3 h w"]:
    """Gaussian blur with a standard deviation in pixels."""
    return _filter(images, lambda f: torch.exp(-2 * (math.pi * sigma * f).square()))


def ring(images: UInt8[Tensor, "n 3 h w"], strength: float) -> UInt8[Tensor, "n 3 h w"]:
    """Gibbs ringing: a low pass with a steep edge at 1 / (2 strength) cycles per pixel."""
    return _filter(images, lambda f: 1 / (1 + (2 * strength * f) ** 20))


def compress(images: UInt8[Tensor, "n 3 h w"], strength: float) -> UInt8[Tensor, "n 3 h w"]:
    """JPEG of quality 100 - strength; a fractional quality blends the two next to it."""
    lower, share = math.floor(strength), strength - math.floor(strength)
    better, worse = _jpeg(images, 100 - lower), _jpeg(images, max(1, 99 - lower))
    return _as_bytes((1 - share) * better + share * worse)


def quantise(images: UInt8[Tensor, "n 3 h w"], step: float) -> UInt8[Tensor, "n 3 h w"]:
    """Rounds every value to a multiple of a step in levels."""
    return _as_bytes((images / step).round() * step)


def tint(images: UInt8[Tensor, "n 3 h w"], levels: float) -> UInt8[Tensor, "n 3 h w"]:
    """Shifts every colour towards red."""
    return _as_bytes(images + levels * torch.tensor(_TINT)[:, None, None])


def block(images: UInt8[Tensor, "n 3 h w"], sigma: float) -> UInt8[Tensor, "n 3 h w"]:
    """Adds one grey level to each block of 8 x 8 pixels, with a standard deviation in levels."""
    count, _, height, width = images.shape
    blocks = _normal((count, 1, -(-height // _BLOCK), -(-width // _BLOCK)))
    offsets = F.interpolate(blocks, scale_factor=_BLOCK)[..., :height, :width]
    return _as_bytes(images + sigma * offsets)


def drop_tokens(images: UInt8[Tensor, "n 3 h w"], share: float) -> UInt8[Tensor, "n 3 h w"]:
    """Replaces a share of the patches of 4 x 4 pixels by the mean colour of their image."""
    count, _, height, width = images.shape
    generator = torch.Generator().manual_seed(_SEED)
    patches = torch.rand(count, 1, -(-height // _TOKEN), -(-width // _TOKEN), generator=generator)
    dropped = F.interpolate(patches, scale_factor=_TOKEN)[..., :height, :width] < share
    return _as_bytes(torch.where(dropped, images.float().mean(dim=(2, 3), keepdim=True), images))


def lose_contrast(images: UInt8[Tensor, "n 3 h w"], share: float) -> UInt8[Tensor, "n 3 h w"]:
    """Moves every pixel towards the mean colour of its image."""
    return _as_bytes(torch.lerp(images.float(), images.float().mean((2, 3), keepdim=True), share))


def checker(images: UInt8[Tensor, "n 3 h w"], levels: float) -> UInt8[Tensor, "n 3 h w"]:
    """Adds a checkerboard of single pixels, an artefact of transposed convolutions.

    `levels` is the mean amplitude; the amplitude of an image differs from it by up to half.
    """
    count, _, height, width = images.shape
    sign = 1 - 2 * ((torch.arange(height)[:, None] + torch.arange(width)) % 2)
    amplitudes = levels * torch.linspace(0.5, 1.5, count)
    return _as_bytes(images + amplitudes.view(-1, 1, 1, 1) * sign)


DISTORTIONS = (
    Distortion(name="noise", apply=add_noise, weakest=0.1, strongest=60.0),
    Distortion(name="blur", apply=blur, weakest=0.1, strongest=30.0),
    Distortion(name="JPEG", apply=compress, weakest=0.1, strongest=99.0),
    Distortion(name="quantisation", apply=quantise, weakest=1.0, strongest=200.0),
    Distortion(name="colour shift", apply=tint, weakest=0.1, strongest=90.0),
    Distortion(name="blocking", apply=block, weakest=0.1, strongest=60.0),
    Distortion(name="ringing", apply=ring, weakest=0.5, strongest=60.0),
    Distortion(name="dropped tokens", apply=drop_tokens, weakest=1e-4, strongest=1.0),
    Distortion(name="lost contrast", apply=lose_contrast, weakest=1e-3, strongest=1.0),
    Distortion(name="checkerboard", apply=checker, weakest=0.1, strongest=60.0),
)


def _as_bytes(images: Float[Tensor, "n 3 h w"]) -> UInt8[Tensor, "n 3 h w"]:
    return images.clamp(0, 255).round().to(torch.uint8)


def _normal(shape: tuple[int, ...]) -> Float[Tensor, "n c h w"]:
    return torch.randn(shape, generator=torch.Generator().manual_seed(_SEED))


def _filter(
    images: UInt8[Tensor, "n 3 h w"],
    gain: Callable[[Float[Tensor, "h w"]], Float[Tensor, "h w"]],
) -> UInt8[Tensor, "n 3 h w"]:
    """Multiplies the cosine spectrum (mirrored edges) by a gain, a function of cycles per pixel."""
    from scipy.fft import dctn, idctn

    height, width = images.shape[-2:]
    down, across = torch.arange(height)[:, None] / (2 * height), torch.arange(width) / (2 * width)
    spectrum = dctn(images.float().numpy(), axes=(-2, -1)) * gain(torch.hypot(down, across)).numpy()
    return _as_bytes(torch.from_numpy(idctn(spectrum, axes=(-2, -1), overwrite_x=True)))


def _jpeg(images: UInt8[Tensor, "n 3 h w"], quality: int) -> UInt8[Tensor, "n 3 h w"]:
    decoded = []
    for pixels in images.permute(0, 2, 3, 1).numpy():
        with io.BytesIO() as file:
            Image.fromarray(pixels).save(file, "JPEG", quality=quality)
            decoded.append(np.asarray(Image.open(file).convert("RGB")))
    return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2)
