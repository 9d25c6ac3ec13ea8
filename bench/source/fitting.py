"""Trains one quantizer on one source and measures its rate and distortion.

The frame is as small as possible. A method that leaves its width free at a rate gets the source's
vectors unchanged; any other gets a linear layer from the source's dimension to its latent. After
the quantizer a linear layer restores scale and dimension for all methods.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from bench.command_line import UsageError
from bench.conf.operating_point import OperatingPoint, resolve
from bench.source.sources import Source
from bench.training.seeds import random_stream, stream_seed
from quantizers import NonFiniteLatentError, Quantizer

BATCH_SIZE = 512
VECTORS = 1 << 15  # to measure distortion, and the same number for the arithmetic code
_JOINT_BITS = 62  # one int64 numbers the codes of all codebooks together


@dataclass(frozen=True)
class Fitted:
    """A quantizer for a source of some dimension, with every hyper-parameter set.

    Attributes:
        matched: whether the latent is as wide as the source, so no layer before it is needed.
    """

    point: OperatingPoint
    matched: bool


@dataclass(frozen=True)
class Measurement:
    """One quantizer on one source, after training.

    Attributes:
        map_parameters: numbers in the linear layer before the quantizer, 0 without one.
        nominal_rate: bits per dimension of a fixed-length code; infinite without quantization.
        coded_rate: bits per dimension of the test vectors under an arithmetic code whose
            probabilities come from other vectors, or the nominal rate where that is lower.
        distortion: mean squared error per dimension, of a variance of 1; NaN if training diverged.
        usage: share of all codes that the test vectors chose; NaN without codes.
    """

    point: OperatingPoint
    source: Source
    map_parameters: int
    nominal_rate: float
    coded_rate: float
    distortion: float
    usage: float

    @property
    def bits(self) -> float:
        """Nominal bits of a whole vector."""
        return self.point.bits_per_position

    @property
    def snr_db(self) -> float:
        """Variance over distortion."""
        return -10 * math.log10(self.distortion) if self.distortion else math.inf

    def gap_db(self, rate: float) -> float:
        """Distortion over Shannon's at a rate, in dB; NaN at an infinite or unknown rate."""
        if not math.isfinite(rate):
            return math.nan
        return 10 * math.log10(self.distortion / self.source.shannon(rate))


class Frame(nn.Module):
    """A quantizer between two linear layers; the first one is optional."""

    def __init__(self, quantizer: Quantizer, dimension: int, *, matched: bool) -> None:
        super().__init__()
        channels = quantizer.latent_channels
        self.before = nn.Identity() if matched else _linear(dimension, channels)
        self.quantizer = quantizer
        self.after = _linear(channels, dimension)

    def forward(
        self, x: Float[Tensor, "n d"]
    ) -> tuple[Float[Tensor, "n d"], Int[Tensor, "n k"], Mapping[str, Tensor]]:
        """Reconstructions, indices and the quantizer's losses."""
        output = self.quantizer(self.before(x))
        return self.after(output.quantized), output.indices, output.losses


def fit_to(configuration: Mapping[str, Any], dimension: int, rate: float) -> Fitted:
    """Fits a method's width to a dimension if that does not change its rate.

    Args:
        configuration: as in `resolve`: `name`, optionally `rates`, and hyper-parameters.
        dimension: of the source.
        rate: bits per vector of the source.

    Raises:
        UsageError: see `resolve`.
    """
    with torch.random.fork_rng():  # `resolve` builds quantizers
        point = resolve(configuration, rate)
        wider = _as_wide_as(configuration, point, dimension)
        if wider != point.hyperparameters:
            with suppress(UsageError):  # the width changes the rate, or the method refuses it
                matched = resolve({"name": configuration["name"], **wider}, rate)
                if matched.bits_per_position == point.bits_per_position:
                    return Fitted(matched, matched=True)
    return Fitted(point, matched=False)


def measure(
    fitted: Fitted, source: Source, *, steps: int, learning_rate: float, seed: int
) -> Measurement:
    """Trains on fresh vectors in every step, then measures on vectors never seen.

    Args:
        fitted: what to train.
        source: of all vectors.
        steps: of Adam.
        learning_rate: at the first step; half a cosine takes it to 0.
        seed: sets the seed for weights, vectors and noise.

    Raises:
        UsageError: more codes than one integer can number.
    """
    if fitted.point.bits_per_position > _JOINT_BITS and fitted.point.control is None:
        raise UsageError(
            f"quantizer {fitted.point.name} has {fitted.point.bits_per_position:.4g} bits per "
            f"vector; sources are measured up to {_JOINT_BITS}"
        )
    dimension = source.dimension
    with random_stream(seed, "init_quantizer"):
        quantizer = fitted.point.build()
    with random_stream(seed, "init_frame"):
        frame = Frame(quantizer, dimension, matched=fitted.matched)
    generator = torch.Generator().manual_seed(stream_seed(seed, "data"))
    try:
        with random_stream(seed, "quantizer_noise"):
            _train(frame, source, steps, learning_rate, generator)
        known = source.sample(VECTORS, generator)
        test = source.sample(VECTORS, generator.manual_seed(stream_seed(seed, "eval")))
        distortion, coded, usage = _evaluate(frame.eval(), known, test)
    except NonFiniteLatentError:
        distortion = coded = usage = math.nan
    nominal = quantizer.bits_per_position / dimension
    return Measurement(
        point=fitted.point,
        source=source,
        map_parameters=sum(parameter.numel() for parameter in frame.before.parameters()),
        nominal_rate=nominal,
        coded_rate=min(nominal, coded / dimension),
        distortion=distortion,
        usage=usage,
    )


def _as_wide_as(
    configuration: Mapping[str, Any], point: OperatingPoint, dimension: int
) -> dict[str, Any]:
    """The hyper-parameters with a latent of this width, if one of them sets only the width."""
    set_by_rate = {key for setting in configuration.get("rates", {}).values() for key in setting}
    wider = dict(point.hyperparameters)
    if "latent_channels" in wider and "latent_channels" not in set_by_rate:
        wider["latent_channels"] = dimension
    elif "group_channels" in wider and dimension % wider["groups"] == 0:
        wider["group_channels"] = dimension // wider["groups"]
    return wider


def _train(
    frame: Frame, source: Source, steps: int, learning_rate: float, generator: torch.Generator
) -> None:
    frame.train()
    optimizer = torch.optim.Adam(frame.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for _ in range(steps):
        x = source.sample(BATCH_SIZE, generator)
        reconstruction, _, losses = frame(x)
        loss = F.mse_loss(reconstruction, x) + sum(losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        frame.quantizer.update()


@torch.no_grad()
def _evaluate(
    frame: Frame, known: Float[Tensor, "n d"], test: Float[Tensor, "m d"]
) -> tuple[float, float, float]:
    """Distortion, bits per vector and usage of the test vectors."""
    errors, indices = [], []
    for x in torch.cat([known, test]).split(BATCH_SIZE):
        reconstruction, codes, _ = frame(x)
        errors.append((reconstruction - x).double().square().mean(dim=1))
        indices.append(codes)
    error = float(torch.cat(errors)[len(known) :].mean())
    sizes = frame.quantizer.codebook_sizes
    if not sizes:
        return error, math.inf, math.nan
    joint = torch.zeros(len(known) + len(test), dtype=torch.int64)  # numbers all codes together
    for column, size in zip(torch.cat(indices).unbind(dim=1), sizes, strict=True):
        joint = joint * size + column
    before, after = joint.tensor_split([len(known)])
    total = math.prod(sizes)
    return error, code_length(before, after, total), len(after.unique()) / total


def code_length(known: Int[Tensor, " n"], coded: Int[Tensor, " m"], size: int) -> float:
    """Mean bits per symbol under the probabilities (count + 1/2) / (n + size / 2).

    The estimate of Krichevsky and Trofimov, 1981. The counts come from `known`, so the length can
    be reached and, up to chance, is never below the entropy.
    """
    symbols, counts = known.unique(return_counts=True)
    places = torch.searchsorted(symbols, coded).clamp(max=len(symbols) - 1)
    counted = torch.where(symbols[places] == coded, counts[places], 0)
    probabilities = (counted + 0.5).double() / (len(known) + size / 2)
    return float(-probabilities.log2().mean())


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """Starts as the identity where the widths agree, else with orthonormal rows or columns."""
    linear = nn.Linear(inputs, outputs)
    if inputs == outputs:
        nn.init.eye_(linear.weight)
        nn.init.zeros_(linear.bias)
    else:
        nn.init.orthogonal_(linear.weight)
    return linear
