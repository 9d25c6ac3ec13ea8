import subprocess
import sys

import pytest
import torch

from models import AutoEncoder, Bottleneck, Decoder, Encoder
from quantizers import Quantizer, build

LEVELS = {"channels": 8, "multipliers": (1, 2, 2), "depths": (1, 1, 1, 1), "norm_groups": 4}
QUANTIZERS = {
    "vq": {"latent_channels": 4, "codebook_size": 16},
    "fsq": {"levels": (8, 5, 5)},
    "lfq": {"latent_channels": 5},
    "gsq": {"groups": 2, "group_channels": 3, "codebook_size": 8},
}


def autoencoder(quantizer: Quantizer, **decoder_options: bool) -> AutoEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoEncoder(
            encoder=Encoder(out_channels=8, **LEVELS),
            bottleneck=Bottleneck(quantizer=quantizer, feature_channels=8),
            decoder=Decoder(in_channels=8, **LEVELS, **decoder_options),
        )


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("name", QUANTIZERS)
@pytest.mark.parametrize("adaptive_norm", [False, True])
def test_decoding_the_indices_equals_the_reconstruction(name, adaptive_norm, images):
    model = autoencoder(build(name, **QUANTIZERS[name]), adaptive_norm=adaptive_norm).eval()
    with torch.no_grad():
        output = model(images)
        assert torch.equal(model.encode(images), output.indices)
        assert torch.equal(model.decode(output.indices), output.reconstruction)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_decoding_the_indices_equals_the_reconstruction_at_a_single_position(name):
    """Axes of length 1 may have any stride, and strides can change the convolution."""
    model = autoencoder(build(name, **QUANTIZERS[name])).eval()
    images = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model.decode(model.encode(images)), model(images).reconstruction)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_decoding_the_indices_equals_the_reconstruction_under_autocast(name, images):
    model = autoencoder(build(name, **QUANTIZERS[name])).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        reconstruction = model(images).reconstruction
        assert reconstruction.dtype == torch.bfloat16
        assert torch.equal(model.decode(model.encode(images)), reconstruction)


def test_decoding_follows_the_precision_of_the_weights(images):
    model = autoencoder(build("fsq", levels=(8, 5, 5))).eval().double()
    with torch.no_grad():
        reconstruction = model(images.double()).reconstruction
        assert reconstruction.dtype == torch.float64
        assert torch.equal(model.decode(model.encode(images.double())), reconstruction)


def test_a_continuous_bottleneck_passes_through(images):
    output = autoencoder(build("none", latent_channels=4))(images)
    assert output.reconstruction.shape == images.shape
    assert output.indices.shape == (3, 0, 4, 6)


def test_shapes_and_losses_come_from_the_quantizer(images):
    model = autoencoder(build("gsq", **QUANTIZERS["gsq"]))
    output = model(images)
    assert output.reconstruction.shape == images.shape
    assert output.indices.shape == (3, 2, 4, 6)
    assert model.downsampling == 4
    z = model.bottleneck.to_latent(model.encoder(images))
    assert output.losses == model.bottleneck.quantizer(z).losses


def test_the_output_holds_the_latent_and_its_quantized_value(images):
    model = autoencoder(build("gsq", **QUANTIZERS["gsq"])).eval()
    with torch.no_grad():
        output = model(images)
        assert torch.equal(output.latent, model.bottleneck.to_latent(model.encoder(images)))
        again = model.bottleneck.quantizer(output.latent)
        assert torch.equal(output.quantized, again.quantized)
        assert not torch.equal(output.quantized, output.latent)


@pytest.mark.parametrize("name", ["none", *QUANTIZERS])
def test_a_training_step_reaches_every_parameter_of_the_frame(name, images):
    model = autoencoder(build(name, **QUANTIZERS.get(name, {})))
    output = model(images)
    ((output.reconstruction - images).square().mean() + sum(output.losses.values())).backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_the_bottleneck_counts_its_two_convolutions():
    quantizer = build("vq", latent_channels=4, codebook_size=16)
    bottleneck = Bottleneck(quantizer=quantizer, feature_channels=8)
    total = sum(parameter.numel() for parameter in bottleneck.parameters())
    assert total == (8 * 4 + 4) + 16 * 4 + (4 * 8 + 8)


@pytest.mark.parametrize(("encoder", "bottleneck", "decoder"), [(4, 8, 8), (8, 4, 8), (8, 8, 4)])
def test_disagreement_on_feature_channels_is_refused(encoder, bottleneck, decoder):
    with pytest.raises(ValueError, match=f"encoder.out_channels={encoder}"):
        AutoEncoder(
            encoder=Encoder(out_channels=encoder, **LEVELS),
            bottleneck=Bottleneck(
                quantizer=build("fsq", levels=(8, 5, 5)), feature_channels=bottleneck
            ),
            decoder=Decoder(in_channels=decoder, **LEVELS),
        )


def test_disagreement_on_the_down_sampling_factor_is_refused():
    shallow = {"channels": 8, "multipliers": (1, 2), "depths": (1, 1, 1), "norm_groups": 4}
    with pytest.raises(ValueError, match="by 4, the decoder multiplies it by 2"):
        AutoEncoder(
            encoder=Encoder(out_channels=8, **LEVELS),
            bottleneck=Bottleneck(quantizer=build("fsq", levels=(8, 5, 5)), feature_channels=8),
            decoder=Decoder(in_channels=8, **shallow),
        )


def test_a_bottleneck_without_features_is_refused():
    with pytest.raises(ValueError, match="feature_channels must be at least 1, got 0"):
        Bottleneck(quantizer=build("fsq", levels=(8, 5, 5)), feature_channels=0)


UNIFORM_4, UNIFORM_5 = (2,) * 5, (2,) * 6
DEEPER_ENCODER, DEEPER_DECODER = (4, 3, 4, 3, 4, 4), (3, 4, 3, 4, 4, 4)


@pytest.mark.parametrize(
    ("multipliers", "depths", "decoder_depths", "attention", "ours", "paper"),
    [
        ((1, 1, 2, 2, 4), UNIFORM_5, UNIFORM_5, False, 77.13, 77.53),
        ((1, 2, 2, 2, 4), UNIFORM_5, UNIFORM_5, False, 82.89, 83.30),
        ((1, 1, 2, 4, 4), UNIFORM_5, UNIFORM_5, False, 100.15, 100.58),
        ((1, 2, 2, 4, 4), DEEPER_ENCODER, DEEPER_DECODER, False, 165.82, 166.26),
        ((1, 2, 2, 4), UNIFORM_4, UNIFORM_4, False, 75.20, 75.59),
        ((1, 2, 2, 4), UNIFORM_4, UNIFORM_4, True, 77.30, 77.70),
        ((1, 2, 4, 4), UNIFORM_4, UNIFORM_4, True, 100.32, 100.74),
    ],
)
def test_sizes_agree_with_the_paper(multipliers, depths, decoder_depths, attention, ours, paper):
    """Its figure 3, in millions: D = 16 channels and a codebook of 262144."""
    shared = {"channels": 128, "multipliers": multipliers, "attention": attention}
    with torch.device("meta"):
        encoder = Encoder(out_channels=16, depths=depths, **shared)
        decoder = Decoder(
            in_channels=16,
            depths=decoder_depths,
            depth_to_space=True,
            adaptive_norm=True,
            **shared,
        )
    parameters = [*encoder.parameters(), *decoder.parameters()]
    millions = (sum(parameter.numel() for parameter in parameters) + 262144 * 16) / 1e6
    assert millions == pytest.approx(ours, abs=0.005)
    assert millions == pytest.approx(paper, rel=0.006)


def test_importing_the_frame_loads_no_vision_library():
    code = "import sys, models; print({'torchvision', 'lpips', 'skimage'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip() == "set()"
