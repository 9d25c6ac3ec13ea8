import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bench.metrics import l1, mean_psnr_db, pooled_psnr_db, psnr_db, ssim
from bench.metrics.multi_scale import ms_ssim

METRICS = [psnr_db, pooled_psnr_db, l1, ssim]


def damaged(images, sigma):
    """Noise that grows from image to image, so that per-image values differ."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    strength = sigma * torch.linspace(0.1, 1, len(images)).view(-1, 1, 1, 1)
    return (images + strength * noise).clamp(0, 255).round().to(torch.uint8)


@pytest.fixture(params=[(33, 32), (7, 200)], ids=["small", "chunked"])
def pair(request, photographs):
    count, size = request.param
    reference = photographs(count, size)
    return reference, damaged(reference, 40)


def test_psnr_equals_scikit_image(pair):
    expected = [
        peak_signal_noise_ratio(x.numpy(), y.numpy(), data_range=255)
        for x, y in zip(*pair, strict=True)
    ]
    np.testing.assert_allclose(psnr_db(*pair), expected, rtol=1e-12)


def test_ssim_equals_scikit_image(pair):
    expected = [
        structural_similarity(
            x.numpy(),
            y.numpy(),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=0,
            data_range=255,
        )
        for x, y in zip(*pair, strict=True)
    ]
    np.testing.assert_allclose(ssim(*pair), expected, rtol=0, atol=1e-9)


def extreme_pairs():
    """Pairs at odd sizes that break careless formulas, in batches of 1 to 64."""
    generator = torch.Generator().manual_seed(0)

    def random(count, height, width):
        shape = (count, 3, height, width)
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    one_flat_channel, almost = random(3, 17, 31), random(2, 12, 13)
    one_flat_channel[:, 1] = 77
    return {
        "random": (random(64, 11, 13), random(64, 11, 13)),
        "constant": (torch.full_like(almost, 250), torch.full_like(almost, 3)),
        "identical but one level": (almost, almost ^ 1),
        "black and white": (torch.zeros_like(almost), (almost > 127).byte() * 255),
        "one channel constant": (one_flat_channel, one_flat_channel.flip(0)),
        "one image": (random(1, 23, 11), random(1, 23, 11)),
    }


@pytest.mark.parametrize("kind", extreme_pairs())
def test_extreme_images_at_odd_sizes_agree_with_scikit_image(kind):
    reference, reconstruction = extreme_pairs()[kind]
    for x, y, ours, ratio in zip(
        reference.numpy(),
        reconstruction.numpy(),
        ssim(reference, reconstruction),
        psnr_db(reference, reconstruction),
        strict=True,
    ):
        expected = structural_similarity(
            x,
            y,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=0,
            data_range=255,
        )
        assert ours.item() == pytest.approx(expected, abs=1e-5)
        if (x != y).any():
            assert ratio.item() == pytest.approx(
                peak_signal_noise_ratio(x, y, data_range=255), abs=1e-5
            )
        else:
            assert ratio.item() == math.inf


@pytest.mark.parametrize("metric", [psnr_db, l1, ssim])
def test_an_image_scores_alike_alone_and_in_a_batch(metric, pair):
    together = metric(*pair)
    apart = [metric(x[None], y[None]) for x, y in zip(*pair, strict=True)]
    torch.testing.assert_close(together, torch.cat(apart), rtol=1e-12, atol=1e-12)


def test_ms_ssim_equals_the_published_product_written_with_scikit_image(photographs):
    reference = photographs(2, 181)  # odd: halving drops the last row and column
    reconstruction = damaged(reference, 60)
    for x, y, ours in zip(
        reference.double(),
        reconstruction.double(),
        ms_ssim(reference, reconstruction),
        strict=True,
    ):
        channels = [reference_ms_ssim(a.numpy(), b.numpy()) for a, b in zip(x, y, strict=True)]
        assert ours.item() == pytest.approx(np.mean(channels), abs=1e-9)


def reference_ms_ssim(x, y):
    """Contrast and structure of four scales, SSIM of the fifth, with SciPy's Gaussian filter."""
    from scipy.ndimage import gaussian_filter

    def smooth(image):
        return gaussian_filter(image, 1.5, truncate=3.5)[5:-5, 5:-5]

    product = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        variance_x = smooth(x * x) - smooth(x) ** 2
        variance_y = smooth(y * y) - smooth(y) ** 2
        covariance = smooth(x * y) - smooth(x) * smooth(y)
        value = (2 * covariance + 7.65**2) / (variance_x + variance_y + 7.65**2)
        if scale == 4:
            means = smooth(x), smooth(y)
            value *= (2 * means[0] * means[1] + 2.55**2) / (means[0] ** 2 + means[1] ** 2 + 2.55**2)
        product *= value.mean() ** weight
        rows, columns = x.shape[0] // 2 * 2, x.shape[1] // 2 * 2
        x, y = (
            image[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3))
            for image in (x, y)
        )
    return product


def test_ms_ssim_of_a_copy_is_1_and_of_a_negative_0(photographs):
    images = photographs(1, 176)
    assert ms_ssim(images, images).item() == pytest.approx(1, abs=1e-12)
    assert ms_ssim(images, 255 - images).item() == 0


def test_ms_ssim_refuses_images_smaller_than_its_coarsest_window():
    images = torch.zeros(1, 3, 175, 200, dtype=torch.uint8)
    with pytest.raises(ValueError, match="at least 176 x 176 pixels, got 175 x 200"):
        ms_ssim(images, images)


def test_l1_equals_numpy(pair):
    difference = pair[0].numpy().astype(float) - pair[1].numpy()
    np.testing.assert_allclose(l1(*pair), np.abs(difference).mean(axis=(1, 2, 3)), rtol=1e-12)


def test_pooled_psnr_equals_scikit_image_on_the_whole_set(pair):
    expected = peak_signal_noise_ratio(pair[0].numpy(), pair[1].numpy(), data_range=255)
    assert pooled_psnr_db(*pair) == pytest.approx(expected, rel=1e-12)


def test_pooled_psnr_is_below_the_mean_of_unequal_images(pair):
    assert pooled_psnr_db(*pair) < mean_psnr_db(psnr_db(*pair)).finite_mean_db - 0.1


def test_an_exact_copy_scores_perfectly(photographs):
    images = photographs(3, 32)
    assert psnr_db(images, images).tolist() == [math.inf] * 3
    assert pooled_psnr_db(images, images) == math.inf
    assert l1(images, images).tolist() == [0.0] * 3
    np.testing.assert_allclose(ssim(images, images), 1, rtol=0, atol=1e-12)


def test_black_against_white_is_the_worst_case():
    black = torch.zeros(1, 3, 11, 11, dtype=torch.uint8)
    white = torch.full_like(black, 255)
    assert psnr_db(black, white).item() == 0
    assert l1(black, white).item() == 255
    assert l1(white, black).item() == 255
    assert ssim(black, white).item() == pytest.approx(0, abs=1e-4)


def test_one_wrong_level_in_one_pixel_is_exact():
    reference = torch.zeros(1, 3, 10, 10, dtype=torch.uint8)
    reconstruction = reference.clone()
    reconstruction[0, 0, 0, 0] = 1
    assert psnr_db(reference, reconstruction).item() == pytest.approx(
        10 * math.log10(255**2 * 300), rel=1e-12
    )


def test_mean_psnr_counts_exact_images_apart():
    mean = mean_psnr_db(torch.tensor([20.0, 30.0, torch.inf, torch.inf]))
    assert mean == (25.0, 2)


def test_mean_psnr_of_exact_images_alone_is_infinite():
    assert mean_psnr_db(torch.tensor([torch.inf])) == (math.inf, 1)


@pytest.mark.parametrize("values", [[], [20.0, math.nan]])
def test_mean_psnr_refuses_nothing_and_nan(values):
    with pytest.raises(ValueError, match="at least one PSNR value and no NaN"):
        mean_psnr_db(torch.tensor(values))


@pytest.mark.parametrize("metric", METRICS)
def test_floats_and_unequal_counts_are_refused(metric, as_users_run):
    images = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    with pytest.raises(TypeError, match="must be uint8"):
        metric(images, images / 255)
    with pytest.raises(ValueError, match="shapes must be equal"):
        metric(images, images[:1])


@pytest.mark.parametrize("size", [(10, 32), (32, 10)])
def test_ssim_refuses_images_smaller_than_its_window(size):
    images = torch.zeros(1, 3, *size, dtype=torch.uint8)
    with pytest.raises(ValueError, match="at least 11 x 11 pixels, got"):
        ssim(images, images)
