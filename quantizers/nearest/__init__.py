"""The nearest code for every latent: `nearest`, and the searches behind it."""

from quantizers.nearest.search import nearest

__all__ = ["nearest"]
