"""Random weights of a narrow, shallow DINOv2, shared by tests."""

import math

import torch

WIDTH, DEPTH, PATCH = 128, 2, 14
HIDDEN = 344  # of the gated MLP: two thirds of 4 x 128, up to the next multiple of 8


def tiny_weights(grid=37, gated=False):
    """A state dict with the names and shapes of the published ones, but narrow and shallow.

    With the gated MLP of ViT-g on request.
    """
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(shape, generator=generator) / math.sqrt(shape[-1])

    weights = {
        "cls_token": random(1, 1, WIDTH),
        "pos_embed": random(1, grid**2 + 1, WIDTH),
        "mask_token": random(1, WIDTH),
        "patch_embed.proj.weight": random(WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": random(WIDTH),
        "norm.weight": 1 + random(WIDTH),
        "norm.bias": random(WIDTH),
    }
    mlp = {"mlp.fc1": (4 * WIDTH, WIDTH), "mlp.fc2": (WIDTH, 4 * WIDTH)}
    if gated:
        mlp = {"mlp.w12": (2 * HIDDEN, WIDTH), "mlp.w3": (WIDTH, HIDDEN)}
    for block in range(DEPTH):
        shapes = {
            "norm1": (WIDTH,),
            "attn.qkv": (3 * WIDTH, WIDTH),
            "attn.proj": (WIDTH, WIDTH),
            "norm2": (WIDTH,),
            **mlp,
        }
        for name, shape in shapes.items():
            weights[f"blocks.{block}.{name}.weight"] = random(*shape) + name.startswith("norm")
            weights[f"blocks.{block}.{name}.bias"] = random(shape[0])
        weights[f"blocks.{block}.ls1.gamma"] = random(WIDTH) * 5
        weights[f"blocks.{block}.ls2.gamma"] = random(WIDTH) * 5
    return weights
