"""Discriminators by name: networks that tell images from reconstructions."""

from typing import Any

from torch import nn

from quantizers.registry import Registry

DISCRIMINATORS: Registry[nn.Module | None] = Registry(
    "discriminator", modules={"patchgan": "models.patchgan"}
)


@DISCRIMINATORS.register("none")
def _no_discriminator() -> None:
    """Trains without an adversarial loss."""


def build_discriminator(name: str, **options: Any) -> nn.Module | None:
    """Builds a discriminator by name; `none` gives None.

    Every discriminator maps images "b 3 H W" in [-1, 1] to logits "b ...". One from elsewhere is an
    `nn.Module` under `@DISCRIMINATORS.register(name)`; its arguments are its options.

    Raises:
        ValueError: unknown name or option, or a value that the discriminator refuses.
    """
    return DISCRIMINATORS.build(name, **options)
