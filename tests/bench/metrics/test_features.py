"""Features are computed in full float32 whatever the caller sets, and give the right distances."""

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from bench.metrics import Extractor, Scattering
from bench.metrics.distances import frechet, frechet_on_request
from bench.metrics.extractor import choose_extractor
from bench.metrics.precision_recall import precision, recall


@pytest.fixture(scope="module")
def images(photographs):
    return photographs(60, 32)


@pytest.fixture(scope="module")
def features():
    return choose_extractor("scattering").open("cpu")


def test_settings_of_the_caller_neither_change_features_nor_are_changed(images, features, capfd):
    expected = features(images)
    state = torch.get_rng_state()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(features(images), expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(torch.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")


def test_networks_run_without_tensorfloat_and_leave_the_random_stream_alone(images):
    class Look(nn.Linear):
        def forward(self, images):
            assert not torch.backends.cudnn.allow_tf32
            assert torch.get_float32_matmul_precision() == "highest"
            return super().forward(images.float().mean(dim=(2, 3)))

    state = torch.get_rng_state()
    extractor = Extractor(name="look", identity="look-v1", label="", build=lambda: Look(3, 2))
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        assert extractor.open("cpu")(images).shape == (60, 2)
        assert torch.backends.cudnn.allow_tf32
    assert torch.equal(torch.get_rng_state(), state)


def test_features_are_computed_in_batches_of_64(photographs):
    sizes = []

    class Count(nn.Module):
        def forward(self, images):
            sizes.append(len(images))
            return images.float().mean(dim=(2, 3))

    images = photographs(130, 11)
    computed = Extractor(name="count", identity="", label="", build=Count).open("cpu")(images)
    assert sizes == [64, 64, 2]
    assert torch.equal(computed, images.float().mean(dim=(2, 3)))


def test_floats_are_refused(images, features, as_users_run):
    with pytest.raises(TypeError, match="must be uint8"):
        features(images / 255)


@pytest.mark.parametrize("device", ["meta", "gpu"])
def test_other_devices_are_refused(device):
    with pytest.raises(ValueError, match=f"'cpu' or 'cuda', got device '{device}'"):
        choose_extractor("scattering").open(device)


def test_cuda_where_there_is_none_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="torch sees no CUDA device"):
        choose_extractor("scattering").open("cuda")


@pytest.mark.gpu
def test_gpu_agrees_with_cpu(images, features):
    on_gpu = choose_extractor("scattering").open("cuda")(images)
    torch.testing.assert_close(on_gpu, features(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "metric_key", "keys"),
    [
        ("inception", "rfid", "rfid rfid_infinity kid precision"),
        ("inception-spatial", "sfid", "sfid fd_infinity_inception_spatial kid_inception_spatial"),
        ("scattering", "fd_scattering_v2", "fd_scattering_v2 fd_infinity_scattering_v2"),
        ("clip-rn50", "", "fd_clip_rn50 fd_infinity_clip_rn50 kid_clip_rn50 precision_clip_rn50"),
    ],
)
def test_keys_of_records_name_the_features(name, metric_key, keys):
    extractor = Extractor(
        name=name, identity="", label="", build=nn.Identity, metric_key=metric_key
    )
    metrics = ("fd", "fd_infinity", "kid", "precision")
    assert [extractor.key(m) for m in metrics][: len(keys.split())] == keys.split()


class Images(Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, position):
        return self.images[position]


@pytest.fixture
def torch_fidelity_scattering() -> str:
    """The embedded extractor under a name of torch-fidelity, so that the library can judge."""
    import torch_fidelity
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    class Adapter(torch_fidelity.FeatureExtractorBase):
        def __init__(self, name: str, features_list: list[str], **_: object) -> None:
            super().__init__(name, features_list)
            self.scattering = Scattering()

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("scattering",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "scattering"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        @staticmethod
        def get_dummy_input_for_compile() -> torch.Tensor:
            return torch.zeros(1, 3, 32, 32, dtype=torch.uint8)

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (self.scattering(images),)

    if "test-scattering" not in FEATURE_EXTRACTORS_REGISTRY:
        torch_fidelity.register_feature_extractor("test-scattering", Adapter)
    return "test-scattering"


def test_distances_equal_those_of_torch_fidelity(images, features, torch_fidelity_scattering):
    from torch_fidelity import calculate_metrics

    noise = torch.randint(0, 60, images.shape, generator=torch.Generator().manual_seed(0))
    noisy = (images + noise).clamp(max=255).byte()
    expected = calculate_metrics(
        input1=Images(noisy),  # generated, real
        input2=Images(images),
        cuda=False,
        fid=True,
        prc=True,
        feature_extractor=torch_fidelity_scattering,
        save_cpu_ram=True,
        cache=False,
        verbose=False,
    )
    ours = features(images), features(noisy)
    assert 0 < expected["precision"] < 1
    assert precision(*ours) == pytest.approx(expected["precision"], abs=1e-6)
    assert recall(*ours) == pytest.approx(expected["recall"], abs=1e-6)
    fid = expected["frechet_inception_distance"]
    assert frechet(*ours).value == pytest.approx(fid, rel=1e-4)
    repeated = frechet_on_request(*ours)
    assert repeated == frechet(*ours)
    assert len(repeated.leave_group_out) == 20
