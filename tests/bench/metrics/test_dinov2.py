import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny_dinov2 import DEPTH, PATCH, WIDTH, tiny_weights

from bench.metrics.dinov2 import read_weights, resample_positions, vision_transformer
from models.weights import DINOV2


def written_out(weights, images):
    """The network of the paper, LayerScale apart and attention as sums."""

    def norm(x, name):
        return F.layer_norm(
            x, (WIDTH,), weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-6
        )

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    x = F.conv2d(
        images, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=PATCH
    )
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([weights["cls_token"].expand(len(x), -1, -1), x], dim=1)
    x = x + resample_positions(weights["pos_embed"], 16)
    for block in (f"blocks.{index}" for index in range(DEPTH)):
        query, key, value = linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv").chunk(3, dim=-1)
        heads = []
        for head in torch.arange(WIDTH).split(64):
            scores = query[..., head] @ key[..., head].transpose(1, 2) / 8
            heads.append(scores.softmax(dim=-1) @ value[..., head])
        x = x + weights[f"{block}.ls1.gamma"] * linear(torch.cat(heads, -1), f"{block}.attn.proj")
        normed, mlp = norm(x, f"{block}.norm2"), f"{block}.mlp"
        if f"{mlp}.w12.weight" in weights:  # SwiGLU
            gate, value = linear(normed, f"{mlp}.w12").tensor_split(2, dim=-1)
            hidden = linear(gate / (1 + torch.exp(-gate)) * value, f"{mlp}.w3")
        else:  # GELU
            hidden = linear(normed, f"{mlp}.fc1")
            hidden = linear(hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2, f"{mlp}.fc2")
        x = x + weights[f"{block}.ls2.gamma"] * hidden
    return norm(x, "norm")[:, 0]


@pytest.mark.parametrize("gated", [False, True])
def test_the_network_equals_the_one_written_out(gated):
    weights = tiny_weights(gated=gated)
    images = torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    before = torch.get_rng_state()
    with torch.no_grad():
        features = vision_transformer(weights)(images)
    assert torch.equal(torch.get_rng_state(), before)
    assert features.shape == (3, WIDTH)
    torch.testing.assert_close(features, written_out(weights, images), rtol=1e-4, atol=1e-4)
    assert features.std(dim=0).mean() > 0.05  # images differ, so the comparison says something


def test_positions_on_the_same_grid_stay_and_the_class_token_always_does():
    positions = torch.randn(1, 37**2 + 1, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resample_positions(positions, 37), positions)
    resampled = resample_positions(positions, 16)
    assert resampled.shape == (1, 16**2 + 1, 5)
    assert torch.equal(resampled[:, 0], positions[:, 0])


def test_positions_are_sampled_where_the_authors_sample_them():
    """A ramp shows the place, (i + 1/2) 37 / 16.1 - 1/2, up to the 0.05 by which cubics bend it.

    Without the 0.1 the last place would lie 0.2 farther.
    """
    row, column = torch.meshgrid(torch.arange(37.0), torch.arange(37.0), indexing="ij")
    ramps = torch.stack([row, column], dim=-1).reshape(1, 37**2, 2)
    resampled = resample_positions(torch.cat([torch.zeros(1, 1, 2), ramps], dim=1), 16)
    places = ((torch.arange(16) + 0.5) * 37 / 16.1 - 0.5)[1:-1]  # away from the border
    grid = resampled[0, 1:].unflatten(0, (16, 16))[1:-1, 1:-1]
    torch.testing.assert_close(grid[..., 0], places[:, None].expand(14, 14), rtol=0, atol=0.05)
    torch.testing.assert_close(grid[..., 1], places[None].expand(14, 14), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("added", "removed", "message"),
    [
        ({"register_tokens": torch.zeros(1, 4, WIDTH)}, None, "with registers"),
        ({"blocks.0.mlp.w12.weight": torch.zeros(1)}, None, r"mlp\.w3\.weight"),
        ({}, "blocks.0.mlp.fc1.weight", r"fc1\.weight"),
        ({}, "blocks.1.ls2.gamma", "blocks.1.ls2.gamma"),
        ({}, "pos_embed", "pos_embed"),
    ],
)
def test_another_architecture_is_refused(added, removed, message):
    weights = tiny_weights() | added
    if removed:
        del weights[removed]
    with pytest.raises(ValueError, match=message):
        vision_transformer(weights)


def test_weights_without_a_block_are_refused():
    weights = {k: v for k, v in tiny_weights().items() if not k.startswith("blocks.")}
    with pytest.raises(ValueError, match=r"blocks\.0\.norm1\.weight"):
        vision_transformer(weights)


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    published = replace(DINOV2["dinov2-vit-s-14"])
    published.path.parent.mkdir(parents=True)
    return published


def test_a_file_is_read_as_it_was_written(file):
    torch.save(tiny_weights(), file.path)
    weights = read_weights(file, width=WIDTH)
    assert weights.keys() == tiny_weights().keys()
    assert torch.equal(weights["pos_embed"], tiny_weights()["pos_embed"])


def test_a_missing_file_says_where_it_goes_and_how_to_get_it(file):
    with pytest.raises(FileNotFoundError) as error:
        read_weights(file, width=WIDTH)
    assert f"curl --create-dirs -Lo {file.path} {file.url}" in str(error.value)
    assert "choose the extractor 'scattering'" in str(error.value)


def test_damaged_foreign_and_executable_files_are_refused(file):
    file.path.write_bytes(b"half a download")
    with pytest.raises(ValueError, match="does not hold DINOv2 ViT-S/14"):
        read_weights(file, width=WIDTH)
    tensors = {"cls_token": torch.zeros(1, 1, WIDTH)}
    torch.save(tensors | {"code": torch.nn.Linear(2, 2)}, file.path)  # an object runs code
    with pytest.raises(ValueError, match="does not hold DINOv2 ViT-S/14 as plain tensors"):
        read_weights(file, width=WIDTH)
    torch.save({"other": torch.zeros(1)}, file.path)
    with pytest.raises(ValueError, match="does not hold DINOv2 ViT-S/14"):
        read_weights(file, width=WIDTH)
    torch.save(tiny_weights(), file.path)
    with pytest.raises(ValueError, match="128 channels, expected 384"):
        read_weights(file, width=384)
