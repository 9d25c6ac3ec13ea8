"""How long the judge takes: features, metrics of every image, distances and their jackknife."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from bench.evaluate import choose_perceptual_metric, evaluate
from bench.metrics import CodebookStatistics
from bench.metrics.extractor import choose_extractor
from bench.speed.memory import with_extra_peak
from bench.speed.page import Section, duration, megabytes, say
from bench.speed.targets import at_most

_TEXT = """Synthetic images of {side} px and the same with noise, judged once: `{extractor}`
features, PSNR, SSIM, L1, `{perceptual}`, distances of the distributions and their jackknife."""

IMAGES = 10_000
_SIDE = 32


def measure(device: torch.device, *, images: int = IMAGES) -> Section:
    """The whole section; fewer images than the target's cannot tell whether it is reached."""
    say(f"judge: {images:,} images of {_SIDE} px")
    reference, reconstruction = _pictures(images)
    statistics = CodebookStatistics((1024,))
    statistics.add(torch.arange(images * 64).remainder(1024).view(images, 1, 8, 8))
    extractor, perceptual = choose_extractor("auto"), choose_perceptual_metric("auto")
    seconds, extra, evaluation = with_extra_peak(
        lambda: evaluate(
            reference,
            reconstruction,
            statistics.result(),
            extractor=extractor,
            perceptual=perceptual,
            device=device,
        ),
        device,
    )
    if not all(map(math.isfinite, evaluation.metrics.values())):
        raise ArithmeticError(f"the judge found {evaluation.metrics}")
    row = {
        "images": f"{images:,}",
        "time": duration(seconds),
        "time per image": duration(seconds / images),
        "extra memory": megabytes(extra),
    }
    values = {f"{images:,} images": seconds} if images >= IMAGES else {}
    target = at_most("judge: 10,000 images of 32 px in a minute", values, 60.0, duration)
    name = perceptual.name if perceptual else "no perceptual distance"
    text = _TEXT.format(side=_SIDE, extractor=extractor.name, perceptual=name)
    return Section("Judge", text, [row], [target])


def _pictures(count: int) -> tuple[UInt8[Tensor, "n 3 s s"], UInt8[Tensor, "n 3 s s"]]:
    """Smooth random images, and the same with some noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    smooth = F.interpolate(coarse, size=_SIDE, mode="bilinear") * 255
    noisy = smooth + 8 * torch.randn(smooth.shape, generator=generator)
    return smooth.to(torch.uint8), noisy.clamp(0, 255).to(torch.uint8)
