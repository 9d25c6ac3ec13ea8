"""A plugin with a metric of each kind and an extractor."""

import torch

from bench.metrics import Extractor
from bench.metrics.distances import jackknifed
from bench.metrics.extractor import EXTRACTORS
from bench.report.metric import metric


@metric("worst_level", digits=0)
def worst_level(images, reconstruction):
    return (images.int() - reconstruction.int()).abs().amax(dim=(1, 2, 3))


@metric("worst_psnr_db", kind="pooled", higher_is_better=True)
def worst_psnr_db(psnr_db):
    return psnr_db.min()


@metric("mean_shift", kind="set")
@jackknifed
def mean_shift(reference, reconstruction):
    return (reference.mean(dim=0) - reconstruction.mean(dim=0)).norm().item()


class MeanColour(torch.nn.Module):
    def forward(self, images):
        return images.float().mean(dim=(2, 3))


@EXTRACTORS.register("mean_colour")
def mean_colour():
    return Extractor(name="mean_colour", identity="mean-v1", label="colours", build=MeanColour)
