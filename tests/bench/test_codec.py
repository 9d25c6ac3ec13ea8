import pytest
import torch

from bench.codec import CODECS, decode, encode_at_rate, main, mean_bits_per_pixel
from bench.record import read_records

JPEG, WEBP = CODECS


@pytest.fixture(scope="module")
def images():
    """Smooth pictures of 64 px."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, 3, 4, 4, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, 64, mode="bicubic").clamp(0, 1)
    return (255 * fine).round().to(torch.uint8)


def test_all_bytes_of_all_files_count(images):
    assert mean_bits_per_pixel([b"1234"] * 4, images) == 32 / 64**2
    _, files = encode_at_rate(JPEG, images, 100.0)
    assert all(file.startswith(b"\xff\xd8") and file.endswith(b"\xff\xd9") for file in files)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_the_highest_quality_that_meets_the_rate_is_taken(codec, images):
    rate = mean_bits_per_pixel([codec.encode(image, 40) for image in images], images)
    quality, files = encode_at_rate(codec, images, rate)
    assert quality >= 40
    assert mean_bits_per_pixel(files, images) <= rate
    next_files = [codec.encode(image, quality + 1) for image in images]
    assert mean_bits_per_pixel(next_files, images) > rate


def test_where_no_quality_meets_the_rate_the_lowest_is_taken_with_its_true_rate(images):
    quality, files = encode_at_rate(JPEG, images, 0.01)
    assert quality == JPEG.lowest
    assert mean_bits_per_pixel(files, images) > 0.01


def test_at_a_high_rate_the_pictures_come_back(images):
    for codec in CODECS:
        _, files = encode_at_rate(codec, images, 1000.0)
        assert (decode(files).int() - images.int()).abs().float().mean() < 3


def test_two_controls_join_the_table_of_the_same_options(
    bench, arguments, tmp_path, capsys, picture_folder
):
    bench("quantizer=fsq")
    assert main(arguments) == 0
    records, problems = read_records(tmp_path / "leaderboards" / "records")
    assert not problems
    assert len({record.protocol["sha256"] for record in records}) == 1
    (table,) = (p for p in (tmp_path / "leaderboards").glob("*.md") if p.name != "README.md")
    text = table.read_text()
    assert "fair: 14/14 checks" in text
    assert "- `jpeg`: files of Pillow" in text
    assert "its lowest quality is above the rate of 0.625 bits per pixel" in text
    jpeg = next(record for record in records if record.quantizer["name"] == "jpeg")
    assert jpeg.rate["bits_per_pixel"] > 0.625
    assert jpeg.rate["bits_per_position"] == pytest.approx(16 * jpeg.rate["bits_per_pixel"])
    assert f"    {jpeg.command}\n" in text
    capsys.readouterr()
    assert main(arguments) == 0
    assert "already there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("quantizer=gsq", "bench.codec has no option quantizer="),
        ("recipe=huge", "unknown recipe 'huge'"),
        ("sed=1", "did you mean 'seed'?"),
    ],
)
def test_a_mistake_is_one_line_that_helps(arguments, argument, words, capsys):
    assert main([*arguments, argument]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
