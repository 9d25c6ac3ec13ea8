"""The judge's metrics: every number comes from uint8 images or from integer indices.

Nothing here knows which method made a reconstruction.
"""

from bench.metrics.codebook import CodebookReport, CodebookStatistics, CodebookUse
from bench.metrics.extractor import Extractor, choose_extractor
from bench.metrics.fidelity import extract_features, frechet_distance
from bench.metrics.image import MeanPsnr, l1, mean_psnr_db, pooled_psnr_db, psnr_db, ssim
from bench.metrics.pixels import to_float, to_uint8

__all__ = [
    "CodebookReport",
    "CodebookStatistics",
    "CodebookUse",
    "Extractor",
    "MeanPsnr",
    "choose_extractor",
    "extract_features",
    "frechet_distance",
    "l1",
    "mean_psnr_db",
    "pooled_psnr_db",
    "psnr_db",
    "ssim",
    "to_float",
    "to_uint8",
]
