import copy

import pytest
import torch
from hydra import compose, initialize_config_dir

from bench.codec import _CONF
from bench.conf.operating_point import resolve
from bench.conf.schema import parse, register_schema
from bench.data import load_data
from bench.training.flops import train_step_flops
from bench.training.networks import build_modules


@pytest.fixture
def counted(arguments, picture_folder):
    """FLOPs of a run with some overrides, and its modules."""

    def count(*overrides):
        register_schema()
        with initialize_config_dir(_CONF, version_base="1.3"):
            config = parse(compose("config", overrides=[*arguments, *overrides]))
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
    """FLOPs that 1024 codes of eight channels take beyond those of 256."""

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


def test_the_search_counts_two_operations_a_channel_for_each_latent_and_code(of_more_codes):
    """A frozen codebook takes part in no other product: vq only looks up."""
    latents = 4 * 64
    assert of_more_codes("vq") == 2 * latents * 8 * (1024 - 256)


def test_the_four_products_of_soft_codes_count(of_more_codes):
    """Logits, and the gradients of probabilities, of latents and of codes."""
    latents = 4 * 64
    assert of_more_codes("ibq") == 4 * 2 * latents * 8 * (1024 - 256)


def test_the_discriminator_counts(counted):
    assert counted("recipe.discriminator.name=none") < counted()
