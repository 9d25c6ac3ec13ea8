import pickle
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from bench.data.base import ImageError
from bench.data.decode import check_header, read_image, square_view


def noise(height=40, width=40, channels=3):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def read(path, min_side=1):
    return np.asarray(read_image(path, min_side=min_side))


def save(image, path, **options):
    image.save(path, **options)
    return path


def test_rgb_png_is_read_as_it_is(tmp_path):
    pixels = noise()
    assert np.array_equal(read(save(Image.fromarray(pixels), tmp_path / "a.png")), pixels)


def test_grey_becomes_three_equal_channels(tmp_path):
    grey = noise(channels=1)
    found = read(save(Image.fromarray(grey), tmp_path / "a.png"))
    assert np.array_equal(found, np.repeat(grey[..., None], 3, axis=-1))


def test_palette_is_looked_up(tmp_path):
    image = Image.fromarray(noise()).quantize(8)
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(read(save(image, tmp_path / "a.png")), expected)


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.linspace(0, 65535, 1600).astype(np.uint16).reshape(40, 40)
    found = read(save(Image.fromarray(values), tmp_path / "a.png"))
    assert np.array_equal(found[..., 0], values // 256)


def test_32_bit_mode_of_a_16_bit_file_is_scaled(tmp_path):
    values = np.linspace(0, 65535, 1600).astype(">u2").reshape(40, 40)
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 40 40 65535\n" + values.tobytes())
    assert np.array_equal(read(path)[..., 0], values // 256)


def test_transparency_is_laid_over_white(tmp_path):
    pixels = np.zeros((40, 40, 4), dtype=np.uint8)  # black: opaque above, transparent below
    pixels[:20, :, 3] = 255
    found = read(save(Image.fromarray(pixels), tmp_path / "a.png"))
    assert found[:20].max() == 0
    assert found[20:].min() == 255


def test_transparent_palette_entry_is_laid_over_white(tmp_path):
    image = Image.new("P", (40, 40), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    assert read(save(image, tmp_path / "a.png", transparency=0)).min() == 255


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    path = save(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), tmp_path / "a.jpg")
    red, green, blue = read(path)[20, 20]
    assert red > 200
    assert max(green, blue) < 60


def test_exif_orientation_is_applied(tmp_path):
    pixels = noise(30, 50)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: rotate by 90 degrees clockwise
    found = read(save(Image.fromarray(pixels), tmp_path / "a.png", exif=exif))
    assert np.array_equal(found, np.rot90(pixels, -1))


def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    path = save(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert tuple(read(path)[0, 0]) == (255, 0, 0)


def text_file(folder):
    (folder / "a.jpg").write_text("these are words")
    return folder / "a.jpg"


def empty_file(folder):
    (folder / "a.png").touch()
    return folder / "a.png"


def truncated_jpeg(folder):
    path = save(Image.fromarray(noise()), folder / "a.jpg")
    path.write_bytes(path.read_bytes()[:-300])
    return path


def truncated_png(folder):
    path = save(Image.fromarray(noise()), folder / "a.png")
    path.write_bytes(path.read_bytes()[:1000])
    return path


def float_tiff(folder):
    return save(Image.fromarray(np.full((40, 40), 0.5, dtype=np.float32)), folder / "a.tif")


def integer_tiff(folder):
    return save(Image.fromarray(np.full((40, 40), 70_000, dtype=np.int32)), folder / "a.tif")


def bomb(folder):
    """A PNG of 10^10 pixels in less than a hundred bytes."""

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    path = folder / "a.png"
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def absent_file(folder):
    return folder / "a.png"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (text_file, "is not an image"),
        (empty_file, "is empty"),
        (truncated_jpeg, "cannot be decoded .*truncated"),
        (truncated_png, "cannot be decoded"),
        (float_tiff, "floating-point"),
        (integer_tiff, "beyond 16 bits"),
        (bomb, "exceeds limit"),
        (absent_file, "does not exist"),
    ],
)
def test_bad_files_are_refused_with_path_and_reason(tmp_path, make, reason):
    path = make(tmp_path)
    with pytest.raises(ImageError, match=reason) as error:
        read(path)
    assert str(path) in str(error.value)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_that_pillow_only_warns_of_is_refused(tmp_path, monkeypatch):
    path = save(Image.fromarray(noise()), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1599)
    with pytest.raises(ImageError, match="40 x 40 exceeds Pillow's limit of 1599 pixels"):
        read(path)


def test_the_shorter_side_decides_whether_an_image_is_too_small(tmp_path):
    path = save(Image.fromarray(noise(40, 90)), tmp_path / "a.png")
    assert read(path, min_side=40).shape == (40, 90, 3)
    with pytest.raises(ImageError, match="90 x 40 is smaller than the crop of 41 pixels"):
        read(path, min_side=41)


def test_the_header_check_decodes_no_pixel(tmp_path):
    check_header(truncated_png(tmp_path), min_side=40)
    with pytest.raises(ImageError, match="smaller"):
        check_header(truncated_png(tmp_path), min_side=41)


def test_an_image_error_survives_pickling():
    error = pickle.loads(pickle.dumps(ImageError("x.png", "is empty")))
    assert (error.path, error.reason, str(error)) == ("x.png", "is empty", "x.png: is empty")


def test_the_fixed_view_is_the_centre():
    pixels = noise(32, 48)
    view = square_view(Image.fromarray(pixels), 32, None)
    assert np.array_equal(view.permute(1, 2, 0).numpy(), pixels[:, 8:40])


@pytest.mark.parametrize(("height", "width"), [(33, 47), (47, 33), (100, 301), (20, 31)])
def test_a_view_has_exactly_the_size(height, width):
    image = Image.fromarray(noise(height, width))
    assert square_view(image, 32, None).shape == square_view(image, 32, 1).shape == (3, 32, 32)


def test_shrinking_is_antialiased():
    fine = np.indices((256, 256)).sum(axis=0) % 2 * 255  # a chequerboard, grey from afar
    image = Image.fromarray(fine.astype(np.uint8)).convert("RGB")
    view = square_view(image, 32, None)
    assert (view.int() - 127).abs().max() <= 2


def test_seeds_draw_every_position_along_the_longer_side_and_both_directions():
    ramp = np.tile(np.arange(35, dtype=np.uint8)[None, :, None], (32, 1, 3))
    views = [square_view(Image.fromarray(ramp), 32, seed)[0, 0] for seed in range(100)]
    assert {int(view.min()) for view in views} == {0, 1, 2, 3}
    assert {bool(view[0] > view[-1]) for view in views} == {False, True}


def test_a_seed_draws_the_same_view_again_and_leaves_the_global_generator_alone():
    image = Image.fromarray(noise(32, 64))
    before = torch.get_rng_state()
    assert torch.equal(square_view(image, 32, 5), square_view(image, 32, 5))
    assert torch.equal(torch.get_rng_state(), before)
