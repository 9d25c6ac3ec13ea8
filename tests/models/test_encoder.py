import pytest
import torch
from torch import nn

from models import Encoder

TINY = {"channels": 8, "multipliers": (1, 2, 2), "depths": (1, 1, 1, 1), "norm_groups": 4}


@pytest.mark.parametrize(
    ("multipliers", "out_channels", "count"),
    [((1, 2, 2, 4), 8, 30_131_336), ((1, 1, 2, 2, 4), 16, 30_874_384)],
)
def test_the_paper_encoders_have_their_published_number_of_parameters(
    multipliers, out_channels, count
):
    with torch.device("meta"):
        encoder = Encoder(
            out_channels=out_channels,
            channels=128,
            multipliers=multipliers,
            depths=[2] * (len(multipliers) + 1),
        )
    assert sum(parameter.numel() for parameter in encoder.parameters()) == count


@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 20)])
def test_every_side_shrinks_by_the_down_sampling_factor(height, width):
    encoder = Encoder(out_channels=6, **TINY)
    assert encoder.downsampling == 4
    assert encoder(torch.zeros(2, 3, height, width)).shape == (2, 6, height // 4, width // 4)


@pytest.mark.parametrize(("height", "width"), [(18, 16), (16, 18)])
def test_sides_that_do_not_divide_are_refused(height, width):
    with pytest.raises(ValueError, match=f"factor 4, got images of {height}x{width}"):
        Encoder(out_channels=6, **TINY)(torch.zeros(1, 3, height, width))


def test_depths_are_read_highest_resolution_first():
    encoder = Encoder(out_channels=6, **{**TINY, "multipliers": (1, 1, 1), "depths": (3, 2, 1, 0)})
    assert [len(stage) for stage in encoder.levels if isinstance(stage, nn.Sequential)] == [3, 2, 1]
    assert len(encoder.middle) == 0


def test_the_output_convolution_starts_with_the_gain_of_the_paper():
    head = Encoder(out_channels=256, **{**TINY, "channels": 32}).head
    assert head.weight.std().item() * 64**0.5 == pytest.approx(1.6761, rel=0.05)


def test_every_parameter_takes_part():
    encoder = Encoder(out_channels=6, **{**TINY, "depths": (1, 1, 1, 2)}, attention=True)
    encoder(torch.randn(2, 3, 16, 16)).square().sum().backward()
    idle = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_images_do_not_influence_one_another():
    encoder = Encoder(out_channels=6, **TINY)
    images = torch.randn(2, 3, 16, 16)
    together = encoder(images)
    apart = torch.cat([encoder(image[None]) for image in images])
    torch.testing.assert_close(together, apart)


@pytest.mark.parametrize("change", [{"norm_groups": 3}, {"depths": (1, 1)}])
def test_bad_hyperparameters_are_refused_at_construction(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        Encoder(out_channels=6, **(TINY | change))
