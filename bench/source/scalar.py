"""The best scalar quantizers of known densities, and of vectors one coordinate at a time.

Lloyd, "Least Squares Quantization in PCM", IEEE Transactions on Information Theory, 1982 (written
in 1957), and Max, "Quantizing for Minimum Distortion", IRE Transactions, 1960: thresholds lie
halfway between codes, and codes are the means of their cells. A log-concave density has one such
quantizer (Fleischer, "Sufficient Conditions for Achieving Minimum Distortion in a Quantizer", IEEE
International Convention Record, 1964); other densities may have several.

Deviation: iterating the two conditions, as Lloyd does, takes a number of steps that grows as the
square of the number of levels. Newton's method minimises the error instead.
"""

import functools
import math

import numpy as np
from jaxtyping import Float
from scipy.linalg import LinAlgError, solveh_banded

from bench.source.density import Density

MANY_LEVELS = 1024  # a coordinate; with more, its error is within 0.5 % of the limit
_TOLERANCE = 1e-9  # of the error: what another step must promise to save
_HALVINGS = 40  # of a step that goes too far

_Codes = Float[np.ndarray, " levels"]


@functools.cache
def lloyd_max(density: Density, levels: int) -> float:
    """Mean squared error of the Lloyd-Max quantizer with `levels` levels, at least 1.

    About ten steps suffice for any number of levels, and a step costs O(levels): a search in the
    cells of the density, and one tridiagonal system.

    The codes start with the density f^(1/3) of Panter and Dite, and reach the optimum if f is
    log-concave. For other densities a second start, a quarter of a step away, lets clusters have
    different numbers of codes; the better result counts.
    """
    if levels == 1:
        return density.variance
    starts = [
        np.interp((np.arange(levels) + shift) / levels, density.companded, density.edges)
        for shift in (0.5, 0.25)
    ]
    return min(_least_error(density, codes) for codes in starts)


def panter_dite(density: Density, levels: float) -> float:
    """The limit of the least error for many levels L: (integral of f^(1/3))^3 / (12 L^2).

    Panter, Dite, "Quantization Distortion in Pulse-Count Modulation with Nonuniform Spacing of
    Levels", Proceedings of the IRE, 1951.
    """
    return math.exp(3 * density.log_integral_of_power(1 / 3)) / (12 * levels**2)


@functools.cache
def scalar_quantizers(marginals: tuple[Density, ...], codes: float) -> float:
    """Error per dimension of a Lloyd-Max quantizer in each coordinate, with at most `codes` codes.

    The numbers of levels are whole and multiply to at most `codes`. They grow one by one from 1,
    first where a bit saves most, so the cost is `lloyd_max` for all numbers up to the largest, once
    for each density. If all would be above `MANY_LEVELS`, they are not rounded: the errors follow
    the limit of Panter and Dite and are equal, which is best.
    """
    limits = [panter_dite(density, 1.0) for density in marginals]
    log_error = (sum(map(math.log, limits)) - 2 * math.log(codes)) / len(marginals)
    if math.sqrt(min(limits)) > MANY_LEVELS * math.exp(log_error / 2):
        return math.exp(log_error)
    levels = [1] * len(marginals)
    budget = math.log2(codes) + 1e-9

    def saving(i: int) -> float:
        now, more = (lloyd_max(marginals[i], count) for count in (levels[i], levels[i] + 1))
        return (now - more) / math.log2((levels[i] + 1) / levels[i])

    while True:
        spent = sum(map(math.log2, levels))
        affordable = [
            i for i, count in enumerate(levels) if spent + math.log2((count + 1) / count) <= budget
        ]
        if not affordable:
            errors = [lloyd_max(*pair) for pair in zip(marginals, levels, strict=True)]
            return sum(errors) / len(errors)
        levels[max(affordable, key=saving)] += 1


def _least_error(density: Density, codes: _Codes) -> float:
    """Descends from ascending codes to a local minimum; halves a step that goes too far."""
    error, step, gain = _error_and_step(density, codes)
    while gain > _TOLERANCE * error:
        for _ in range(_HALVINGS):
            moved = codes + step
            if (np.diff(moved) > 0).all():
                there = _error_and_step(density, moved)
                if there[0] < error:
                    break
            step = step / 2
        else:
            return error  # as low as float64 can tell
        codes = moved
        error, step, gain = there
    return error


def _error_and_step(density: Density, codes: _Codes) -> tuple[float, _Codes, float]:
    """The mean squared error of ascending codes, a downhill step, and the decrease it promises.

    With the mass m and the first moment M of each cell, the gradient of the error is 2 (m c - M).
    Its Hessian is tridiagonal, with h = f(t) (c' - c) / 2 at the threshold t between c and c'. The
    step is Newton's, or Lloyd's where the Hessian is not positive definite.
    """
    thresholds = (codes[1:] + codes[:-1]) / 2
    zeroth, first = density.up_to(thresholds)
    mass = np.diff(zeroth, prepend=0.0, append=density.zeroth[-1])
    moment = np.diff(first, prepend=0.0, append=density.first[-1])
    power = density.variance + density.first[-1] ** 2
    error = power + float((codes * (mass * codes - 2 * moment)).sum())
    downhill = 2 * (moment - mass * codes)
    smooth = np.interp(thresholds, density.centres, density.heights)
    h = smooth * np.diff(codes) / 2  # jumps of f would spoil the Hessian
    hessian = np.zeros((2, len(codes)))  # superdiagonal, diagonal
    hessian[0, 1:] = -h
    hessian[1] = 2 * mass - np.append(h, 0.0) - np.append(0.0, h)
    try:
        step = solveh_banded(hessian, downhill)
    except LinAlgError:
        step = downhill / np.maximum(2 * mass, 1e-300)
    return error, step, float(downhill @ step) / 2
