"""The embedded feature extractor: a fixed scattering-like network, which needs no weights.

Bruna and Mallat, "Invariant Scattering Convolution Networks", IEEE TPAMI 35(8), 2013,
https://arxiv.org/abs/1203.1513, section 2: Morlet wavelets, complex modulus, local average. No
filter is learned or random. An image becomes 168 numbers:

- opponent colours Y, Cb, Cr (ITU-R BT.601, full range), in levels of 255;
- 3 scales x 4 orientations of Morlet wavelets, the modulus, its mean in each cell of a 2 x 2 grid;
- mean and standard deviation of the remaining low-pass image in each cell of the same grid.

Moduli and deviations are amplitudes in levels; the feature is log(1 + amplitude / 4). The logarithm
keeps the few strongest textures from dominating the distance, and the 4 does the same for the
faintest noise. Each kind of feature has a weight for luma and one for chroma, chosen so that
damages of equal strength (by pixel error and SSIM) have about equal distances.
`bench.metrics.weigh` finds the weights on training photographs, and `bench.metrics.validate` judges
the result on others.

Deviations from the paper: first order only; one small filter bank on the levels of a binomial image
pyramid (Burt and Adelson 1983) instead of one large bank; a logarithm (as in Anden and Mallat,
"Deep Scattering Spectrum", 2014); colour; the weights.

This is a proxy: it sees contrast, texture and colour, not objects. Never call its distance FID. The
name ends in a hash of the filter bank and of every constant below, so it changes with each of them.
"""

import hashlib
import json
import math
from functools import cache
from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

VERSION: Final = 2
SMALLEST_SIDE: Final = 32  # pixels; the coarsest level then has 8, enough to reflect 3 of them

_YCBCR: Final = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)
_SCALES: Final = 3
_ORIENTATIONS: Final = 4
_RADIUS: Final = 3  # pixels, 3.75 standard deviations of the envelope
_ENVELOPE: Final = 0.8  # standard deviation along the wave, in pixels
_SLANT: Final = 0.5  # the envelope is 1 / _SLANT times longer across the wave
_FREQUENCY: Final = 0.75 * math.pi  # radians per pixel
_BINOMIAL: Final = (1, 4, 6, 4, 1)
_GRID: Final = 2
_MEAN_UNIT: Final = 16.0  # levels that move a mean feature by 1
_AMPLITUDE_UNIT: Final = 4.0  # levels at which the logarithm begins to compress
# (luma, chroma) of the wavelets from fine to coarse, the means and the deviations
WEIGHTS: Final = ((2.1, 0.31), (0.64, 3.2), (1.2, 1.5), (0.95, 0.72), (3.3, 2.0))

DIMENSION: Final = 3 * _GRID**2 * (_SCALES * _ORIENTATIONS + 2)


class Scattering(nn.Module):
    """Maps uint8 images to 168 features each, float64.

    Features of an image do not depend on the rest of the batch, up to rounding.
    """

    colours: Float[Tensor, "3 3"]
    wavelets: Float[Tensor, "f 1 s s"]
    low_pass: Float[Tensor, "1 1 5 5"]
    weights: Float[Tensor, " d"]

    def __init__(self) -> None:
        super().__init__()
        binomial = torch.tensor(_BINOMIAL, dtype=torch.float32) / sum(_BINOMIAL)
        bank = morlet_bank()
        filters = torch.cat([bank.real, bank.imag]).float()
        smoothing = torch.outer(binomial, binomial)
        self.register_buffer("colours", torch.tensor(_YCBCR), persistent=False)
        self.register_buffer("wavelets", filters[:, None], persistent=False)
        self.register_buffer("low_pass", smoothing[None, None], persistent=False)
        weights = expand_weights(torch.tensor(WEIGHTS, dtype=torch.float64))
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Features in the order: wavelets (finest scale first), means, standard deviations.

        Raises:
            ValueError: a side is shorter than 32 pixels.
        """
        if min(images.shape[-2:]) < SMALLEST_SIDE:
            raise ValueError(
                f"the scattering extractor needs images of at least {SMALLEST_SIDE} x "
                f"{SMALLEST_SIDE} pixels, got {images.shape[-2]} x {images.shape[-1]}"
            )
        centred = images.float() - 128  # keeps float32 rounding small
        # a matrix product would depend on the caller's float32_matmul_precision
        colours = (self.colours[:, :, None, None] * centred[:, None]).sum(dim=2)
        level = colours.flatten(0, 1).unsqueeze(1)  # each colour is a separate image
        features = [self._amplitudes(level)]
        for _ in range(_SCALES - 1):
            level = F.conv2d(_reflect(level, len(_BINOMIAL) // 2), self.low_pass, stride=2)
            features.append(self._amplitudes(level))
        features += _mean_and_deviation(level)
        flat = torch.cat([f.reshape(len(images), -1).double() for f in features], dim=1)
        return flat * self.weights

    def _amplitudes(self, level: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n o g g"]:
        """Log of the mean modulus of each wavelet, n images of one colour, o orientations."""
        response = F.conv2d(_reflect(level, _RADIUS), self.wavelets)
        real, imaginary = response.chunk(2, dim=1)
        return _compress(F.adaptive_avg_pool2d(torch.hypot(real, imaginary), _GRID))


@cache
def morlet_bank() -> Tensor:
    """Four complex Morlet wavelets of 7 x 7 pixels, complex128, shape (4, 7, 7).

    Each sums to zero and has gain 2 at its own frequency. Half of a sine wave lies at the negative
    frequency, so the modulus of the response is about the amplitude of the wave. Values are rounded
    to 1e-6, so that every machine has the same bank.
    """
    axis = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    wavelets = []
    for orientation in range(_ORIENTATIONS):
        angle = math.pi * orientation / _ORIENTATIONS
        along = x * math.cos(angle) + y * math.sin(angle)
        across = y * math.cos(angle) - x * math.sin(angle)
        envelope = torch.exp(-(along.square() + (_SLANT * across).square()) / (2 * _ENVELOPE**2))
        wave = torch.polar(envelope, _FREQUENCY * along)
        wavelet = wave - envelope * (wave.sum() / envelope.sum())
        phasor = torch.polar(torch.ones_like(along), -_FREQUENCY * along)
        wavelets.append(2 * wavelet / (wavelet * phasor).sum().abs())
    bank = torch.view_as_real(torch.stack(wavelets))
    return torch.view_as_complex(bank.mul(1e6).round().div(1e6))


def expand_weights(weights: Float[Tensor, "5 2"]) -> Float[Tensor, " d"]:
    """The weight of each feature, from the weights of luma and chroma for each kind."""
    by_colour = weights[:, [0, 1, 1]]  # Y, Cb, Cr
    wavelets = by_colour[:_SCALES].flatten().repeat_interleave(_ORIENTATIONS * _GRID**2)
    return torch.cat([wavelets, by_colour[_SCALES:].flatten().repeat_interleave(_GRID**2)])


@cache
def scattering_identity() -> str:
    """Name of the extractor with version and hash, such as `scattering-v2-` and 8 hex digits."""
    micro = torch.view_as_real(morlet_bank()).mul(1e6).round().long()
    specification = {
        "bank": micro.flatten().tolist(),
        "colours": _YCBCR,
        "scales": _SCALES,
        "pyramid": _BINOMIAL,
        "padding": "reflect",
        "grid": _GRID,
        "units": (_MEAN_UNIT, _AMPLITUDE_UNIT),
        "weights": WEIGHTS,
        "features": "log1p mean modulus, mean, log1p standard deviation",
    }
    digest = hashlib.sha256(json.dumps(specification, sort_keys=True).encode()).hexdigest()
    return f"scattering-v{VERSION}-{digest[:8]}"


def _reflect(level: Float[Tensor, "n 1 h w"], pixels: int) -> Float[Tensor, "n 1 H W"]:
    return F.pad(level, (pixels,) * 4, mode="reflect")


def _compress(amplitude: Float[Tensor, "n o g g"]) -> Float[Tensor, "n o g g"]:
    return torch.log1p(amplitude / _AMPLITUDE_UNIT)


def _mean_and_deviation(level: Float[Tensor, "n 1 h w"]) -> list[Float[Tensor, "n 1 g g"]]:
    """Mean and log standard deviation in each cell; in float64 because of cancellation."""
    level = level.double()
    mean = F.adaptive_avg_pool2d(level, _GRID)
    variance = F.adaptive_avg_pool2d(level.square(), _GRID) - mean.square()
    return [mean / _MEAN_UNIT, _compress(variance.clamp(min=0).sqrt())]
