"""Published tokenizers behind the interfaces of diffusers, judged as the README shows.

The models are small and random: the path is tested, no published number is.
"""

import math
import re
from pathlib import Path

import pytest
import torch

from bench import data
from bench.metrics import to_float, to_uint8
from bench.score import score, score_function

diffusers = pytest.importorskip("diffusers", reason="pip install 'quantizer-zoo[diffusers]'")

SMALL = {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "norm_num_groups": 4,
}
MODELS = {
    "VQModel": {"latent_channels": 3, "num_vq_embeddings": 16},
    "AutoencoderKL": {"latent_channels": 4},
}


def build(name: str) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return getattr(diffusers, name)(**SMALL, **MODELS[name]).eval()


def photographs(crops: data.ImageSet) -> torch.Tensor:
    """Four test crops are enough here."""
    return torch.stack([crops.image(number, None) for number in range(4)])


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return photographs(data.load_data("photos", image_size=32).test)


@pytest.mark.parametrize("name", MODELS)
def test_the_lines_of_the_readme_judge_a_model_from_its_files(name, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", Path("README.md").read_text("utf-8"), re.DOTALL)
    (block,) = (block for block in blocks if f"from diffusers import {name}\n" in block)
    assert block.count("\n") <= 10
    build(name).save_pretrained(tmp_path)
    monkeypatch.setattr(data, "test_images", photographs)
    names: dict = {}
    exec(block.replace('"DIR"', repr(str(tmp_path))), names)
    assert names["images"].shape == (4, 3, 128, 128)
    assert all(math.isfinite(value) for value in names["evaluation"].metrics.values())


@pytest.mark.parametrize("name", MODELS)
def test_a_function_scores_as_the_pictures_that_it_makes(name, images):
    model = build(name)
    with torch.no_grad():
        pictures = to_uint8(model(to_float(images)).sample)
    expected = score(images, pictures)
    evaluation = score_function(lambda batch: model(batch).sample, images)
    assert evaluation.metrics == pytest.approx(expected.metrics, rel=1e-6)
    assert {"psnr_db", "ssim", "l1"} <= set(evaluation.metrics)
    assert len(evaluation.per_image["psnr_db"]) == 4


def test_a_kl_model_is_judged_without_noise(images):
    model = build("AutoencoderKL")
    first, second = (score_function(lambda x: model(x).sample, images) for _ in range(2))
    assert first.per_image == second.per_image


def test_the_codes_of_a_vq_model_are_judged_with_its_codebook(images):
    model = build("VQModel")
    with torch.no_grad():
        latent = model.encode(to_float(images)).latents
        indices = model.quantize(latent)[2][2].view(len(images), 1, *latent.shape[2:])
        pictures = to_uint8(model.decode(latent).sample)
    (use,) = score(images, pictures, indices=indices, codebook_sizes=[16]).codebooks.codebooks
    assert use.tokens == indices.numel() == 4 * 16 * 16
    assert use.used_codes == len(indices.unique())
