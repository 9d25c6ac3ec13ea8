"""The judge for anybody's reconstructions: `python -m bench.score`, or from Python.

    score(images, reconstruction)                   uint8 tensors of shape (n, 3, h, w)
    score_function(reconstruct, images)             reconstruct maps [-1, 1] to [-1, 1], in batches

Both take `metrics=("ms_ssim", "fd:dinov2-vit-b-14")`, see `bench.metrics.by_name`.
"""

from bench.score.tensors import score, score_function

__all__ = ["score", "score_function"]
