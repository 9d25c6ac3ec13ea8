"""What the judge makes of fixed photographs, damaged by hand, stays what it was.

The values below are the output of

    python tests/bench/metrics/test_golden_scores.py

A change that moves one of them moves every table: raise `VERSION` in `bench/jobs/protocol.py`.

What may differ between machines is the rounding of logarithms, Fourier transforms and matrix
products, and with it a byte of a damaged picture here and there. One byte in ten thousand off by
one level moves PSNR, SSIM and L1 by up to 1.1e-4 of their value, the others by up to 2.4e-4: hence
the tolerance of 1e-3.
"""

import numpy as np
import pytest
import torch

from bench.evaluate import evaluate
from bench.metrics import CodebookReport
from bench.metrics.distortions import DISTORTIONS
from bench.metrics.extractor import choose_extractor
from bench.metrics.multi_scale import ms_ssim
from models import build_perceptual

TOLERANCE = 1e-3
# Strengths that neither saturate nor vanish, each in the unit of its distortion.
STRENGTHS = {
    "noise": 8.0,
    "blur": 0.7,
    "JPEG": 60.0,
    "quantisation": 24.0,
    "colour shift": 6.0,
    "blocking": 8.0,
    "ringing": 1.6,
    "dropped tokens": 0.05,
    "lost contrast": 0.1,
    "checkerboard": 6.0,
}
METRICS = ("psnr_db", "ssim", "l1", "lpips_rand", "fd_scattering_v2", "kid_scattering_v2")
GOLDEN = {
    "noise": (30.3903, 0.704866, 6.07003, 0.00459548, 5.47084, 0.21888),
    "blur": (39.1905, 0.946336, 2.56332, 0.00149475, 1.54949, 0.0630799),
    "JPEG": (34.0269, 0.883281, 4.25493, 0.00222867, 2.0865, 0.0444295),
    "quantisation": (32.1347, 0.814812, 5.70235, 0.00417835, 3.31075, 0.108388),
    "colour shift": (35.7027, 0.970977, 3.86633, 0.000845576, 0.195882, 0.00969342),
    "blocking": (30.5516, 0.833632, 6.17769, 0.00480169, 2.72204, 0.0770549),
    "ringing": (40.2334, 0.949635, 2.38236, 0.00102246, 0.360057, 0.011227),
    "dropped tokens": (37.9361, 0.949938, 0.922994, 0.00139185, 0.588139, 0.00347994),
    "lost contrast": (42.2701, 0.985373, 1.92268, 0.000286286, 0.52349, 0.0398465),
    "checkerboard": (33.2, 0.789369, 5.82363, 0.00511922, 3.09475, 0.101672),
}
MS_SSIM = {  # one for each of three photographs
    "noise": (0.939627, 0.950783, 0.970104),
    "blur": (0.99736, 0.987619, 0.993037),
    "JPEG": (0.979296, 0.955026, 0.980788),
    "quantisation": (0.93439, 0.956506, 0.970179),
    "colour shift": (0.999919, 0.999737, 0.999904),
    "blocking": (0.827963, 0.817778, 0.896587),
    "ringing": (0.997662, 0.991166, 0.996654),
    "dropped tokens": (0.772997, 0.906434, 0.951479),
    "lost contrast": (0.996309, 0.996148, 0.995309),
    "checkerboard": (0.996054, 0.990038, 0.985345),
}


def photographs(side: int, stride: int, count: int) -> torch.Tensor:
    """Squares on a lattice of three photographs in scikit-image's wheel, `count` of each."""
    from skimage import data

    cut = []
    for picture in (data.astronaut(), data.coffee(), data.chelsea()):
        rows, columns = ((length - side) // stride + 1 for length in picture.shape[:2])
        for place in np.linspace(0, rows * columns - 1, count).astype(int):
            top, left = stride * (place // columns), stride * (place % columns)
            cut.append(picture[top : top + side, left : left + side])
    return torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).contiguous()


def scores(images: torch.Tensor, damaged: torch.Tensor) -> tuple[float, ...]:
    evaluation = evaluate(
        images,
        damaged,
        CodebookReport(codebooks=(), joint=None),
        extractor=choose_extractor("scattering"),
        perceptual=build_perceptual("lpips_rand"),
        device=torch.device("cpu"),
    )
    return tuple(evaluation.metrics[name] for name in METRICS)


@pytest.fixture(scope="module")
def small() -> torch.Tensor:
    return photographs(32, 32, 16)


@pytest.mark.parametrize("distortion", DISTORTIONS, ids=lambda distortion: distortion.name)
def test_scores_of_damaged_photographs_are_what_they_were(distortion, small):
    found = scores(small, distortion.apply(small, STRENGTHS[distortion.name]))
    expected = dict(zip(METRICS, GOLDEN[distortion.name], strict=True))
    assert dict(zip(METRICS, found, strict=True)) == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.parametrize("distortion", DISTORTIONS, ids=lambda distortion: distortion.name)
def test_ms_ssim_of_damaged_photographs_is_what_it_was(distortion):
    large = photographs(180, 40, 1)
    found = ms_ssim(large, distortion.apply(large, STRENGTHS[distortion.name])).tolist()
    assert found == pytest.approx(MS_SSIM[distortion.name], rel=TOLERANCE)


def main() -> None:
    small, large = photographs(32, 32, 16), photographs(180, 40, 1)
    for distortion in DISTORTIONS:
        strength = STRENGTHS[distortion.name]
        row = scores(small, distortion.apply(small, strength))
        print(f'    "{distortion.name}": ({", ".join(f"{value:.6g}" for value in row)}),')
    for distortion in DISTORTIONS:
        row = ms_ssim(large, distortion.apply(large, STRENGTHS[distortion.name])).tolist()
        print(f'    "{distortion.name}": ({", ".join(f"{value:.6g}" for value in row)}),')


if __name__ == "__main__":
    main()
