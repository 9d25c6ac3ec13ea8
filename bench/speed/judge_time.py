"""Section "Judge": features, metrics of every image, distances and their jackknife."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from bench.evaluate import choose_perceptual_metric, evaluate
from bench.metrics import CodebookStatistics
from bench.metrics.extractor import choose_extractor
from bench.speed.comparison import Grid, measure
from bench.speed.page import Section, Target, duration, megabytes, say
from bench.training.interrupt import StopRequest

_TEXT = """Synthetic images of {side} px and the same images with noise, judged once: `{extractor}`
features, PSNR, SSIM, L1, `{perceptual}`, distances of the distributions and their jackknife."""

_TARGETED = 10_000  # images; fewer cannot tell whether the target is reached
_SIDE = 32
GRIDS = {"small": Grid([_TARGETED], rounds=0), "full": Grid([_TARGETED], rounds=0)}


def section(grid: Grid[int], device: torch.device, stop: StopRequest) -> Section:
    """One evaluation."""
    (images,) = grid.sizes
    say(f"judge: {images:,} images of {_SIDE} px")
    reference, reconstruction = pictures(images, side=_SIDE, coarse=4)
    statistics = CodebookStatistics((1024,))
    statistics.add(torch.arange(images * 64).remainder(1024).view(images, 1, 8, 8))
    extractor, perceptual = choose_extractor("auto"), choose_perceptual_metric("auto")

    judge = partial(
        evaluate,
        reference,
        reconstruction,
        statistics.result(),
        extractor=extractor,
        perceptual=perceptual,
        device=device,
    )
    cell = measure({"judge": lambda: judge}, grid, device, required=["judge"])["judge"]
    if not all(map(math.isfinite, cell.results[0].metrics.values())):
        raise ArithmeticError(f"the judge found {cell.results[0].metrics}")
    row = {
        "images": f"{images:,}",
        "time": duration(cell.median),
        "time per image": duration(cell.median / images),
        "extra memory": megabytes(cell.extra_bytes),
    }
    values = {f"{images:,} images": cell.median if images >= _TARGETED else None}
    what = "judge: 10,000 images of 32 px in a minute"
    target = Target.of(what, values, duration, at_most=60.0)
    name = perceptual.name if perceptual else "no perceptual distance"
    text = _TEXT.format(side=_SIDE, extractor=extractor.name, perceptual=name)
    return Section("Judge", text, [row], [target])


def pictures(
    count: int, *, side: int, coarse: int
) -> tuple[UInt8[Tensor, "n 3 s s"], UInt8[Tensor, "n 3 s s"]]:
    """Smooth random images from `coarse` pixels a side, and the same images with some noise."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(count, 3, coarse, coarse, generator=generator)
    smooth = F.interpolate(pixels, size=side, mode="bilinear") * 255
    noisy = smooth + 8 * torch.randn(smooth.shape, generator=generator)
    return smooth.to(torch.uint8), noisy.clamp(0, 255).to(torch.uint8)
