"""Frechet distance between originals and reconstructions, by torch-fidelity.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule ...", NeurIPS 2017,
https://arxiv.org/abs/1706.08500, equation 6: the squared distance between two Gaussians fitted to
the features of both sets. With Inception features it is rFID, with others a proxy.

The reference set is the very images that were reconstructed, not statistics of another set. The
value is biased upward for small sets, in proportion to the damage, so compare equal counts only.

torch-fidelity reads unknown options as absent ones, caches by a name that says nothing of the data,
starts worker processes and draws from the global random stream; hence one call here, with each
option spelled out.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from bench.metrics.extractor import Extractor
from bench.metrics.pixels import check_images, check_pair
from bench.metrics.scattering import register_scattering


def frechet_distance(
    reference: UInt8[Tensor, "n 3 h w"],
    reconstruction: UInt8[Tensor, "n 3 h w"],
    *,
    extractor: Extractor,
    device: torch.device | str,
    batch_size: int = 64,
) -> float:
    """Frechet distance between the features of both sets: 0 for equal sets, lower is better.

    Rounding below zero is cut to 0. The result goes to records under `extractor.metric_key`.

    Args:
        reference: original images.
        reconstruction: their reconstructions, in any order.
        extractor: from `choose_extractor`.
        device: where features are computed, `cpu` or a CUDA device; statistics are on the CPU.
        batch_size: images per forward pass; moves the result by rounding only.

    Raises:
        TypeError, ValueError: not two equally shaped uint8 stacks, see `check_pair`; fewer than 2
            images; images too small for the extractor; another kind of device.
    """
    check_pair(reference, reconstruction)
    if len(reference) < 2:
        raise ValueError("a covariance needs at least 2 images in each set, got 1")
    from torch_fidelity import KEY_METRIC_FID, calculate_metrics

    with _on(torch.device(device)) as cuda:
        metrics = calculate_metrics(
            input1=_ImageSet(reconstruction),  # the order torch-fidelity documents: generated, real
            input2=_ImageSet(reference),
            cuda=cuda,
            batch_size=batch_size,
            **_fidelity_options(extractor),
        )
    return max(float(metrics[KEY_METRIC_FID]), 0.0)  # in this order, NaN stays NaN


def extract_features(
    images: UInt8[Tensor, "n 3 h w"],
    *,
    extractor: Extractor,
    device: torch.device | str,
    batch_size: int = 64,
) -> Float[Tensor, "n d"]:
    """Features that `frechet_distance` compares, on the CPU, for statistics of other kinds.

    Raises:
        TypeError, ValueError: not a uint8 stack; images too small; another kind of device.
    """
    check_images(images, "given")
    from torch_fidelity.utils import create_feature_extractor

    options = _fidelity_options(extractor)
    name, layer = options["feature_extractor"], options["feature_layer_fid"]
    with _on(torch.device(device)) as cuda, torch.no_grad():
        network = create_feature_extractor(name, [layer], cuda=cuda, **options)
        batches = images.split(batch_size)
        return torch.cat([network(b.to(device))[0].cpu() for b in batches])


class _ImageSet(Dataset[Tensor]):
    """Images in memory as torch-fidelity wants them: one tensor an item, not a tuple."""

    def __init__(self, images: UInt8[Tensor, "n 3 h w"]) -> None:
        self.images = images.cpu()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> UInt8[Tensor, "3 h w"]:
        return self.images[position]


@contextmanager
def _on(device: torch.device) -> Iterator[bool]:
    """Full float32 on the device, whatever surrounds the call; yields whether it is CUDA.

    Autocast and TensorFloat-32 of the caller would change features; its random stream is kept.
    """
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"torch-fidelity runs on 'cpu' or 'cuda', got device {str(device)!r}")
    cuda = device.type == "cuda"
    with (
        torch.cuda.device(device) if cuda else nullcontext(),
        torch.random.fork_rng(devices=[]),
        torch.autocast(device.type, enabled=False),
        torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
    ):
        yield cuda


def _fidelity_options(extractor: Extractor) -> dict[str, Any]:
    """All options of torch-fidelity but the images, the device and the batch size."""
    if extractor.name == "scattering":
        registered, layer = register_scattering(), "scattering"
    else:
        registered, layer = "inception-v3-compat", "2048"
    return {
        "feature_extractor": registered,
        "feature_layer_fid": layer,
        "feature_extractor_weights_path": extractor.weights,
        "feature_extractor_internal_dtype": None,
        "feature_extractor_compile": False,
        "fid": True,
        "cache": False,
        "save_cpu_ram": True,  # no worker processes for images that are in memory
        "verbose": False,
        **_UNUSED_OPTIONS,
    }


# Options that concern other metrics, files on disk or generators, at the library's defaults.
_UNUSED_OPTIONS: dict[str, Any] = {
    "isc": False,
    "kid": False,
    "prc": False,
    "ppl": False,
    "feature_layer_isc": None,
    "feature_layer_kid": None,
    "feature_layer_prc": None,
    "isc_splits": 10,
    "kid_subsets": 100,
    "kid_subset_size": 1000,
    "kid_kernel": "poly",
    "kid_kernel_poly_degree": 3,
    "kid_kernel_poly_gamma": None,
    "kid_kernel_poly_coef0": 1,
    "kid_kernel_rbf_sigma": 10,
    "ppl_epsilon": 1e-4,
    "ppl_reduction": "mean",
    "ppl_sample_similarity": "lpips-vgg16",
    "ppl_sample_similarity_resize": 64,
    "ppl_sample_similarity_dtype": "uint8",
    "ppl_discard_percentile_lower": 1,
    "ppl_discard_percentile_higher": 99,
    "ppl_z_interp_mode": "lerp",
    "prc_neighborhood": 3,
    "prc_batch_size": 10000,
    "samples_shuffle": False,
    "samples_find_deep": False,
    "samples_find_ext": "png",
    "samples_ext_lossy": "",
    "samples_resize_and_crop": 0,
    "datasets_root": None,
    "datasets_download": False,
    "cache_root": None,
    "input1_cache_name": None,
    "input1_model_z_type": "normal",
    "input1_model_z_size": None,
    "input1_model_num_classes": 0,
    "input1_model_num_samples": None,
    "input2_cache_name": None,
    "input2_model_z_type": "normal",
    "input2_model_z_size": None,
    "input2_model_num_classes": 0,
    "input2_model_num_samples": None,
    "rng_seed": 2020,
}
