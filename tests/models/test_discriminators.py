import math

import pytest
import torch
from torch import nn

from models import DISCRIMINATORS, build_discriminator
from models.patchgan import PatchGAN


def test_the_paper_patchgan_has_the_layers_of_pix2pix():
    with torch.device("meta"):
        discriminator = PatchGAN(channels=64, layers=3)
    convs = [m for m in discriminator.modules() if isinstance(m, nn.Conv2d)]
    shapes = [(conv.in_channels, conv.out_channels, conv.stride[0]) for conv in convs]
    assert shapes == [(3, 64, 2), (64, 128, 2), (128, 256, 2), (256, 512, 1), (512, 1, 1)]
    assert {conv.kernel_size for conv in convs} == {(4, 4)}
    assert [conv.bias is not None for conv in convs] == [True, False, False, False, True]
    norms = [m.num_features for m in discriminator.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms == [128, 256, 512]
    slopes = [m.negative_slope for m in discriminator.modules() if isinstance(m, nn.LeakyReLU)]
    assert slopes == [0.2] * 4


def test_a_logit_of_the_paper_patchgan_sees_70_pixels():
    discriminator = PatchGAN(channels=4, layers=3).eval()
    for conv in (m for m in discriminator.modules() if isinstance(m, nn.Conv2d)):
        nn.init.ones_(conv.weight)
    images = torch.ones(1, 3, 128, 128, requires_grad=True)
    logits = discriminator(images)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    seen = images.grad[0].abs().sum(dim=0) > 0
    assert (seen.any(dim=0).sum().item(), seen.any(dim=1).sum().item()) == (70, 70)


def test_the_last_layer_starts_ten_times_smaller():
    discriminator = PatchGAN(channels=32, layers=3)
    head, inner = discriminator.head.weight, discriminator.layers[2].weight
    assert head.std().item() == pytest.approx(0.1 / math.sqrt(256 * 16), rel=0.05)
    assert inner.std().item() == pytest.approx(1 / math.sqrt(32 * 16), rel=0.05)


def test_channels_grow_at_most_eightfold():
    with torch.device("meta"):
        discriminator = PatchGAN(channels=4, layers=5)
    convs = [m for m in discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert [conv.out_channels for conv in convs] == [4, 8, 16, 32, 32, 32, 1]


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_smallest_images_give_one_logit_and_smaller_ones_are_refused(layers):
    discriminator = PatchGAN(channels=4, layers=layers).eval()
    side = discriminator.min_side
    assert discriminator(torch.zeros(1, 3, side, side)).shape == (1, 1, 1, 1)
    with pytest.raises(ValueError, match=f"at least {side}x{side} pixels, got {side}x{side - 1}"):
        discriminator(torch.zeros(1, 3, side, side - 1))


@pytest.mark.parametrize("bad", [{"channels": 0}, {"layers": 0}])
def test_bad_hyperparameters_are_refused_at_construction(bad):
    with pytest.raises(ValueError, match="at least 1"):
        PatchGAN(**{"channels": 4, "layers": 2} | bad)


def test_names_build_discriminators():
    assert build_discriminator("none") is None
    with pytest.raises(ValueError, match="unknown option of discriminator none: 'channels'"):
        build_discriminator("none", channels=4)
    patchgan = build_discriminator("patchgan", channels=4, layers=2)
    assert isinstance(patchgan, PatchGAN)
    assert patchgan.min_side == 12


def test_a_plugin_adds_a_discriminator_with_an_option_of_its_own(register):
    @register(DISCRIMINATORS, "flat")
    class Flat(nn.Module):
        def __init__(self, *, gain: float = 1.0) -> None:
            super().__init__()
            self.gain = gain

    assert build_discriminator("flat", gain=2.0).gain == 2.0
    with pytest.raises(ValueError, match="known: gain; did you mean 'gain'"):
        build_discriminator("flat", gian=2.0)
