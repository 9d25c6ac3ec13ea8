import pytest
import torch

from models import Decoder

TINY = {"channels": 8, "multipliers": (1, 2, 2), "depths": (1, 1, 1, 1), "norm_groups": 4}


@pytest.mark.parametrize(
    ("multipliers", "in_channels", "options", "count"),
    [
        ((1, 2, 2, 4), 8, {}, 30_162_947),
        ((1, 2, 2, 4), 8, {"adaptive_norm": True}, 30_190_595),
        ((1, 2, 2, 4), 8, {"depth_to_space": True}, 40_782_851),
        ((1, 2, 2, 4), 8, {"adaptive_norm": True, "depth_to_space": True}, 40_810_499),
        ((1, 1, 2, 2, 4), 16, {"adaptive_norm": True, "depth_to_space": True}, 42_057_987),
    ],
)
def test_the_paper_decoders_have_their_published_number_of_parameters(
    multipliers, in_channels, options, count
):
    with torch.device("meta"):
        decoder = Decoder(
            in_channels=in_channels,
            channels=128,
            multipliers=multipliers,
            depths=[2] * (len(multipliers) + 1),
            **options,
        )
    assert sum(parameter.numel() for parameter in decoder.parameters()) == count


@pytest.mark.parametrize("depth_to_space", [False, True])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (2, 5)])
def test_every_side_grows_by_the_down_sampling_factor(height, width, depth_to_space):
    decoder = Decoder(in_channels=6, **TINY, depth_to_space=depth_to_space)
    assert decoder.downsampling == 4
    images = decoder(torch.zeros(2, 6, height, width))
    assert images.shape == (2, 3, height * 4, width * 4)


def test_depths_are_read_highest_resolution_first():
    decoder = Decoder(in_channels=6, **{**TINY, "multipliers": (1, 1, 1), "depths": (3, 2, 1, 0)})
    assert [len(level.blocks) for level in decoder.levels] == [1, 2, 3]
    assert len(decoder.middle) == 0


def test_the_output_convolution_starts_with_the_gain_of_the_paper():
    head = Decoder(in_channels=6, **{**TINY, "channels": 256}).head
    assert head.weight.std().item() * (256 * 9) ** 0.5 == pytest.approx(1.6761, rel=0.05)


def test_every_parameter_takes_part():
    decoder = Decoder(
        in_channels=6,
        **{**TINY, "depths": (1, 1, 1, 2)},
        attention=True,
        depth_to_space=True,
        adaptive_norm=True,
    )
    decoder(torch.randn(2, 6, 4, 4)).square().sum().backward()
    idle = [name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_adaptive_norm_follows_the_spread_of_the_input():
    """Group norms forget the scale of the input; the adaptive norm must not."""
    features = torch.randn(1, 6, 4, 4)
    outputs = {}
    for adaptive_norm in (False, True):
        decoder = Decoder(in_channels=6, **TINY, adaptive_norm=adaptive_norm)
        torch.nn.init.zeros_(decoder.stem.weight)
        outputs[adaptive_norm] = (decoder(features) - decoder(3 * features)).abs().max()
    assert outputs[False] == 0
    assert outputs[True] > 1e-3


@pytest.mark.parametrize("change", [{"norm_groups": 3}, {"depths": (1, 1, 1)}])
def test_bad_hyperparameters_are_refused_at_construction(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        Decoder(in_channels=6, **(TINY | change))
