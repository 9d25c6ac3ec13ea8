"""The judge's standard metrics: every number comes from uint8 images or from integer indices.

Nothing here knows which method made a reconstruction. What this module imports belongs to the
hashed code of the judge. `bench.metrics.by_name` finds other metrics, `bench.metrics.extractor` the
feature extractors.
"""

from bench.metrics.codebook import CodebookReport, CodebookUse, JointUse, entropy_bits
from bench.metrics.codebook_statistics import CodebookStatistics
from bench.metrics.features import Extractor
from bench.metrics.fidelity import fidelity_network
from bench.metrics.image import MeanPsnr, l1, mean_psnr_db, pooled_psnr_db, psnr_db, ssim
from bench.metrics.pixels import to_float, to_uint8
from bench.metrics.scattering import Scattering

__all__ = [
    "CodebookReport",
    "CodebookStatistics",
    "CodebookUse",
    "Extractor",
    "JointUse",
    "MeanPsnr",
    "Scattering",
    "entropy_bits",
    "fidelity_network",
    "l1",
    "mean_psnr_db",
    "pooled_psnr_db",
    "psnr_db",
    "ssim",
    "to_float",
    "to_uint8",
]
