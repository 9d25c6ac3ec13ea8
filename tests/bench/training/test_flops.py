import copy

import pytest
import torch

from bench.conf.operating_point import resolve
from bench.data import load_data
from bench.training.flops import train_step_flops
from bench.training.networks import build_modules

WITHOUT_DISCRIMINATOR = (
    "~recipe.discriminator.channels",
    "~recipe.discriminator.layers",
    "recipe.discriminator.name=none",
)


@pytest.fixture
def counted(configure, picture_folder):
    """FLOPs of a run with some overrides."""

    def count(*overrides):
        config = configure(*overrides)
        modules = build_modules(config, resolve(config.quantizer, config.rate))
        before = copy.deepcopy(modules.autoencoder.state_dict())
        images = load_data("folder", image_size=32, root=str(picture_folder)).train
        state = torch.get_rng_state()
        flops = train_step_flops(
            config, modules, images, device=torch.device("cpu"), autocast=False
        )
        assert torch.equal(torch.get_rng_state(), state)
        assert all(before[k].equal(v) for k, v in modules.autoencoder.state_dict().items())
        return flops

    return count


@pytest.fixture
def of_more_codes(counted):
    """FLOPs with 1024 codes of eight channels minus FLOPs with 256."""

    def count(quantizer):
        settings = (f"quantizer={quantizer}", "quantizer.latent_channels=8")
        small, large = (
            counted(*settings, f"quantizer.codebook_size={size}", f"rate={rate}")
            for size, rate in ((256, 8), (1024, 10))
        )
        return large - small

    return count


def test_twice_the_images_take_twice_the_operations(counted):
    once, twice = counted("quantizer=none"), counted("quantizer=none", "recipe.batch_size=8")
    assert twice == 2 * once > 0


def test_the_search_counts_two_operations_per_channel_for_each_latent_and_code(of_more_codes):
    """In vq the codebook takes part in no other product: codes are looked up."""
    latents = 4 * 64
    assert of_more_codes("vq") == 2 * latents * 8 * (1024 - 256)


def test_the_four_products_of_soft_codes_count(of_more_codes):
    """Logits, and the gradients of probabilities, latents and codes."""
    latents = 4 * 64
    assert of_more_codes("ibq") == 4 * 2 * latents * 8 * (1024 - 256)


def test_the_discriminator_counts(counted):
    assert counted(*WITHOUT_DISCRIMINATOR) < counted()
