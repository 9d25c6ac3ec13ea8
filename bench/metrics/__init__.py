"""The judge's metrics: every number comes from uint8 images or from integer indices.

Nothing here knows which method made a reconstruction.
"""

from bench.metrics.codebook import (
    CodebookReport,
    CodebookUse,
    JointUse,
    entropy_bits,
    joint_entropy_bits,
    miller_madow_entropy_bits,
)
from bench.metrics.codebook_statistics import CodebookStatistics
from bench.metrics.extractor import Extractor, choose_extractor
from bench.metrics.fidelity import extract_features, frechet_distance
from bench.metrics.image import MeanPsnr, l1, mean_psnr_db, ms_ssim, pooled_psnr_db, psnr_db, ssim
from bench.metrics.pixels import to_float, to_uint8

__all__ = [
    "CodebookReport",
    "CodebookStatistics",
    "CodebookUse",
    "Extractor",
    "JointUse",
    "MeanPsnr",
    "choose_extractor",
    "entropy_bits",
    "extract_features",
    "frechet_distance",
    "joint_entropy_bits",
    "l1",
    "mean_psnr_db",
    "miller_madow_entropy_bits",
    "ms_ssim",
    "pooled_psnr_db",
    "psnr_db",
    "ssim",
    "to_float",
    "to_uint8",
]
