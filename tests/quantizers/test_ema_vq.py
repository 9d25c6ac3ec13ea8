"""Facts of EMA-VQ: van den Oord et al. 2017, appendix A.1, and the revival of codes out of use."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from two_processes import results_of

from quantizers import Quantizer, build


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make(codes: Tensor, **parameters) -> Quantizer:
    """An EMA-VQ in training with given codes and, unless told, without revival."""
    size, channels = codes.shape
    parameters = {"revival_threshold": 0.0, "commitment_weight": 0.4} | parameters
    ema_vq = build("ema_vq", codebook_size=size, latent_channels=channels, **parameters)
    ema_vq.codebook.copy_(codes)
    return ema_vq.train()


def at(*places: float, channels: int = 2) -> Tensor:
    """Codes or latents on a line, far apart."""
    return torch.tensor(places).unsqueeze(1).repeat(1, channels)


def step(ema_vq: Quantizer, z: Tensor) -> Tensor:
    """A training forward and the update after it; returns the indices."""
    indices = ema_vq(z).indices
    ema_vq.update()
    return indices


def test_without_memory_codes_become_the_means_of_their_clusters():
    codes, z = normal(40, 3, seed=0), normal(2, 3, 5, 6, seed=1)
    ema_vq = make(codes, decay=0.0, smoothing=0.0)
    choices = step(ema_vq, z).flatten()
    latents = z.movedim(1, -1).flatten(0, -2).double()
    for index, code in enumerate(ema_vq.codebook):
        chosen = latents[choices == index]
        expected = chosen.mean(dim=0).float() if len(chosen) else codes[index]
        torch.testing.assert_close(code, expected)
    assert 1 < len(choices.unique()) < 40


def test_averages_have_the_closed_form_of_the_paper_with_its_defaults():
    """N and m decay by 0.99; codes are m over N, smoothed by 1e-5 under a constant total."""
    ema_vq = build("ema_vq", codebook_size=6, latent_channels=3, revival_threshold=0.0).train()
    ema_vq.codebook.copy_(normal(6, 3, seed=0))
    sizes, sums = torch.zeros(6).double(), torch.zeros(6, 3).double()
    for number in range(5):
        z = normal(50, 3, seed=10 + number)
        one_hot = F.one_hot(step(ema_vq, z).squeeze(1), 6).double()
        sizes = 0.99 * sizes + 0.01 * one_hot.sum(dim=0)
        sums = 0.99 * sums + 0.01 * one_hot.T @ z.double()
        total = sizes.sum()
        smoothed = (sizes + 1e-5) / (total + 6e-5) * total
        torch.testing.assert_close(ema_vq.codebook, (sums / smoothed[:, None]).float())
        torch.testing.assert_close(ema_vq.cluster_sizes, sizes.float())


def test_a_code_approaches_the_mean_of_equal_batches_geometrically():
    ema_vq = make(at(0.0, 100.0), decay=0.9, smoothing=0.0)
    ema_vq.cluster_sizes.fill_(8)
    ema_vq.cluster_sums.copy_(8 * ema_vq.codebook)
    batch = at(1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 3.0)
    for number in range(1, 6):
        step(ema_vq, batch)
        torch.testing.assert_close(ema_vq.codebook[0], torch.full((2,), 2 - 2 * 0.9**number))
        torch.testing.assert_close(ema_vq.codebook[1], torch.full((2,), 100.0))


def test_an_update_counts_all_forwards_since_the_last_one():
    codes, z = normal(9, 3, seed=0), normal(20, 3, seed=1)
    whole, parts = make(codes), make(codes)
    step(whole, z)
    for part in z.split([3, 10, 7]):
        parts(part)
    parts.update()
    torch.testing.assert_close(parts.codebook, whole.codebook)
    assert not torch.equal(parts.codebook, codes)
    for ema_vq in (whole, parts):  # and counts them once
        step(ema_vq, z)
    torch.testing.assert_close(parts.cluster_sums, whole.cluster_sums)


def test_an_update_without_a_training_forward_changes_nothing():
    ema_vq = make(normal(9, 3, seed=0), revival_threshold=0.9)
    step(ema_vq, normal(20, 3, seed=1))
    before = copy.deepcopy(ema_vq.state_dict())
    ema_vq.update()
    ema_vq.eval()(normal(20, 3, seed=2))
    ema_vq.update()
    assert all(torch.equal(value, before[key]) for key, value in ema_vq.state_dict().items())


def test_only_the_encoder_learns_by_gradient():
    codes, z = normal(9, 3, seed=0), normal(20, 3, seed=1).requires_grad_()
    ema_vq = make(codes)
    output = ema_vq(z)
    assert list(ema_vq.parameters()) == []
    assert set(output.losses) == {"commitment"}
    error = z.detach().double() - output.quantized.detach().double()
    loss = output.losses["commitment"]
    torch.testing.assert_close(loss.double(), 0.4 * error.square().mean(), rtol=1e-5, atol=0)
    (gradient,) = torch.autograd.grad(loss, z)
    torch.testing.assert_close(gradient.double(), 2 * 0.4 * error / 60, rtol=1e-5, atol=1e-8)


def test_dead_codes_become_latents_and_outlive_the_next_update():
    ema_vq = make(at(0.0, 50.0, 60.0, 70.0), revival_threshold=0.1)
    z = torch.cat([normal(20, 2, seed=0), at(7.0, 8.0)])
    step(ema_vq, z)
    revived = ema_vq.codebook[1:].clone()
    matches = (revived[:, None] == z).all(dim=-1)
    assert matches.any(dim=1).all()
    assert len(revived.unique(dim=0)) == 3
    assert torch.equal(ema_vq(revived).indices.flatten(), torch.tensor([1, 2, 3]))
    ema_vq.update()
    torch.testing.assert_close(ema_vq.codebook[1:], revived, rtol=1e-4, atol=0)


def test_a_revived_code_that_is_not_chosen_stays_for_a_while():
    ema_vq = make(at(0.0, 50.0), revival_threshold=0.1)
    step(ema_vq, at(-1.0, 0.0, 1.0, 9.0))
    revived = ema_vq.codebook[1].clone()
    for _ in range(3):
        indices = step(ema_vq, ema_vq.codebook[:1].clone())
        assert indices.tolist() == [[0]]
        torch.testing.assert_close(ema_vq.codebook[1], revived, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("crowd", "alive"), [(15, True), (16, False)])
def test_the_threshold_is_a_share_of_the_mean_cluster_size(crowd, alive):
    """One latent of 40 is just a tenth of the mean over four codes, one of 42 is less."""
    codes = at(0.0, 10.0, 20.0, 30.0)
    ema_vq = make(codes, decay=0.0, smoothing=0.0, revival_threshold=0.1)
    step(ema_vq, at(1.0, *[11.0] * crowd, *[20.0] * crowd, *[30.0] * 9))
    sizes = [1.0 if alive else (2 * crowd + 10) / 4, crowd, crowd, 9]
    assert ema_vq.cluster_sizes.tolist() == sizes
    torch.testing.assert_close(ema_vq.cluster_sums, ema_vq.codebook * ema_vq.cluster_sizes[:, None])


def test_with_fewer_latents_than_dead_codes_each_latent_revives_one():
    ema_vq = make(at(*range(100, 116)), revival_threshold=0.1)
    z = at(1.0, 2.0, 3.0)
    step(ema_vq, z)
    moved = ema_vq.codebook[1:][(ema_vq.codebook[1:] < 100).all(dim=1)]
    assert torch.equal(moved.sort(dim=0).values, z)


def test_revival_draws_from_the_global_generator():
    def revived(seed: int) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            ema_vq = make(at(0.0, 50.0, 60.0, 70.0), revival_threshold=0.1)
            step(ema_vq, normal(200, 2, seed=0))
        return ema_vq.codebook

    assert torch.equal(revived(1), revived(1))
    assert not torch.equal(revived(1), revived(2))


def test_all_codes_come_into_use_from_the_start_of_the_paper():
    ema_vq = build("ema_vq", codebook_size=64, latent_channels=4).train()
    z = normal(1000, 4, seed=0)
    assert len(ema_vq(z).indices.unique()) < 50
    for _ in range(3):
        step(ema_vq, z)
    assert len(ema_vq(z).indices.unique()) == 64


def test_codes_start_uniform_between_plus_and_minus_one_over_v():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codes = build("ema_vq", latent_channels=64, codebook_size=50).codebook * 50
    assert 0.99 < codes.max() <= 1
    assert -1 <= codes.min() < -0.99
    assert float(codes.var()) == pytest.approx(1 / 3, rel=0.05)


def test_the_state_is_the_codebook_and_its_averages():
    ema_vq = make(normal(9, 3, seed=0))
    ema_vq(normal(20, 3, seed=1))
    assert set(ema_vq.state_dict()) == {"codebook", "cluster_sizes", "cluster_sums"}
    assert all(value.dtype == torch.float32 for value in ema_vq.state_dict().values())


@pytest.mark.slow
def test_two_processes_equal_one_with_both_batches(tmp_path):
    """Without revival; with it, both end with the same codebook."""
    first, second = results_of("ema_in_processes.py", tmp_path)
    assert all(map(torch.equal, first["revived"], second["revived"]))
    whole = make(normal(32, 3, seed=0))
    for number in range(3):
        step(whole, torch.cat([normal(10 + rank, 3, seed=2 * number + rank) for rank in (0, 1)]))
    for codebooks in (first, second):
        torch.testing.assert_close(codebooks["counted"], whole.codebook)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"codebook_size": 1}, "codebook_size of at least 2, got 1"),
        ({"decay": 1.0}, r"decay and revival_threshold in \[0, 1\), got 1.0 and 0.1"),
        ({"decay": -0.1}, "got -0.1 and 0.1"),
        ({"revival_threshold": 1.0}, "got 0.99 and 1.0"),
        ({"smoothing": -1e-5}, "smoothing must be .* got -1e-05"),
        ({"commitment_weight": -0.1}, "commitment_weight must be .* got -0.1"),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        build("ema_vq", **({"codebook_size": 4} | wrong))
