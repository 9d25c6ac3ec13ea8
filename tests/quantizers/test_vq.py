"""Facts of VQ: van den Oord et al. 2017, equations 1 to 3."""

import pytest
import torch
from unchecked import build_unchecked

from quantizers import build
from quantizers.parts.kmeans import kmeans


@pytest.fixture
def vq():
    vq = build("vq", latent_channels=3, codebook_size=11, commitment_weight=0.4)
    with torch.no_grad():
        vq.codebook.copy_(torch.randn(11, 3, generator=torch.Generator().manual_seed(0)))
    return vq


@pytest.fixture
def z():
    return torch.randn(4, 3, 5, 2, generator=torch.Generator().manual_seed(1))


def test_every_latent_becomes_its_nearest_code(vq, z):
    output = vq(z)
    latents = z.permute(0, 2, 3, 1).double()
    distances = (latents[..., None, :] - vq.codebook.double()).square().sum(dim=-1)
    assert torch.equal(output.indices[:, 0], distances.argmin(dim=-1))
    expected = vq.codebook[distances.argmin(dim=-1)].permute(0, 3, 1, 2)
    assert torch.equal(output.quantized, expected)


def test_equal_codes_are_told_apart_by_the_lowest_index(vq, z):
    with torch.no_grad():
        vq.codebook[6:] = vq.codebook[:5].clone()
    assert vq(z).indices.max() <= 5


def test_losses_and_their_gradients_have_the_closed_form_of_equation_3(vq, z):
    z.requires_grad_()
    losses = vq(z).losses
    latents = z.detach().movedim(1, -1).flatten(0, -2).double()
    codebook = vq.codebook.detach().double()
    indices = vq(z).indices.flatten()
    error = codebook[indices] - latents
    mean_square = error.square().mean()
    assert set(losses) == {"codebook", "commitment"}
    torch.testing.assert_close(losses["codebook"].double(), mean_square, rtol=1e-5, atol=0)
    torch.testing.assert_close(losses["commitment"].double(), 0.4 * mean_square, rtol=1e-5, atol=0)

    expected = torch.zeros_like(codebook).index_add(0, indices, 2 * error / error.numel())
    (gradient,) = torch.autograd.grad(losses["codebook"], vq.codebook, retain_graph=True)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-8)
    (gradient,) = torch.autograd.grad(losses["commitment"], z, retain_graph=True)
    expected = (-2 * 0.4 * error / error.numel()).view(4, 5, 2, 3).permute(0, 3, 1, 2)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-8)


def test_the_default_commitment_weight_is_a_quarter(z):
    losses = build("vq", latent_channels=3, codebook_size=4)(z).losses
    torch.testing.assert_close(losses["commitment"], losses["codebook"] / 4)


def test_each_loss_moves_one_side_only(vq, z):
    losses = vq(z.requires_grad_()).losses
    (gradient,) = torch.autograd.grad(losses["codebook"], [z], allow_unused=True, retain_graph=True)
    assert gradient is None
    (gradient,) = torch.autograd.grad(losses["commitment"], [vq.codebook], allow_unused=True)
    assert gradient is None


def test_the_gradient_of_the_output_passes_the_look_up_unchanged(vq, z):
    z.requires_grad_()
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(2))
    vq(z).quantized.backward(upstream)
    assert torch.equal(z.grad, upstream)
    assert vq.codebook.grad is None


def test_the_rotation_trick_changes_the_gradient_of_the_output_alone(vq, z):
    """Each gradient keeps its angle to the code, and its length follows that of the code."""
    rotating = build(
        "vq", latent_channels=3, codebook_size=11, commitment_weight=0.4, estimator="rotation"
    )
    rotating.load_state_dict(vq.state_dict())
    expected, output = vq(z), rotating(z.requires_grad_())
    assert torch.equal(output.quantized, expected.quantized)
    assert output.losses == expected.losses
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(2))
    output.quantized.backward(upstream)
    code = expected.quantized.detach()
    gain = code.norm(dim=1) / z.detach().norm(dim=1)
    torch.testing.assert_close(z.grad.norm(dim=1), gain * upstream.norm(dim=1))
    angle = torch.cosine_similarity(z.grad, z.detach(), dim=1)
    torch.testing.assert_close(angle, torch.cosine_similarity(upstream, code, dim=1))
    assert rotating.codebook.grad is None


def test_moving_latents_and_codes_together_changes_no_index(vq, z):
    expected = vq(z).indices
    with torch.no_grad():
        vq.codebook += 100
    assert torch.equal(vq(z + 100).indices, expected)


def test_a_permuted_codebook_permutes_the_indices(vq, z):
    before = vq(z)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        vq.codebook.copy_(vq.codebook[order].clone())
    after = vq(z)
    assert torch.equal(order[after.indices], before.indices)
    assert torch.equal(after.quantized, before.quantized)


def test_codes_start_uniform_between_plus_and_minus_one_over_v():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codes = build("vq", latent_channels=64, codebook_size=50).codebook.detach() * 50
    assert codes.abs().max() <= 1
    assert codes.abs().max() > 0.99
    assert abs(float(codes.mean())) < 0.03
    assert float(codes.var()) == pytest.approx(1 / 3, rel=0.05)


@pytest.fixture
def at_centres():
    return build("vq", latent_channels=3, codebook_size=11, init="kmeans").train()


def test_the_first_update_moves_the_codes_to_the_centres_of_all_latents_before(at_centres, z):
    start, more = at_centres.codebook.detach().clone(), 2 * z + 1
    for part in (z, more):
        at_centres(part)
    assert torch.equal(at_centres.codebook, start)
    latents = torch.cat([part.movedim(1, -1).flatten(0, -2) for part in (z, more)])
    with torch.random.fork_rng():
        torch.manual_seed(4)
        expected = kmeans(latents, 11)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        at_centres.update()
    assert torch.equal(at_centres.codebook, expected)
    assert at_centres.has_centres


def test_later_updates_leave_the_codes_to_the_gradient(at_centres, z):
    at_centres(z)
    at_centres.update()
    centres = at_centres.codebook.detach().clone()
    at_centres(z + 5)
    at_centres.update()
    assert torch.equal(at_centres.codebook, centres)
    assert len(at_centres.start.latents) == 0


def test_centres_that_were_loaded_are_kept(at_centres, z):
    at_centres(z)
    at_centres.update()
    resumed = build("vq", latent_channels=3, codebook_size=11, init="kmeans").train()
    resumed.load_state_dict(at_centres.state_dict())
    resumed(z + 5)
    resumed.update()
    assert torch.equal(resumed.codebook, at_centres.codebook)


def test_a_loaded_start_is_a_start_again(at_centres, z):
    start = {name: value.clone() for name, value in at_centres.state_dict().items()}
    for part in (z, z + 5):
        at_centres.load_state_dict(start)
        at_centres(part.clone().requires_grad_())
        assert not at_centres.start.latents.requires_grad
        at_centres.update()
        assert at_centres.has_centres
    assert at_centres.codebook.detach().mean() > 3


def test_without_a_training_forward_no_centre_is_sought(at_centres, z):
    start = at_centres.codebook.detach().clone()
    at_centres.eval()(z)
    at_centres.update()
    assert torch.equal(at_centres.codebook, start)
    assert not at_centres.has_centres


def test_uniform_codes_have_no_other_state(vq, z):
    before = vq.codebook.detach().clone()
    vq(z)
    vq.update()
    assert torch.equal(vq.codebook, before)
    assert set(vq.state_dict()) == {"codebook"}


def test_one_million_codes_fit_without_a_matrix_of_distances():
    vq = build("vq", latent_channels=1, codebook_size=2**20)
    assert vq.bits_per_position == 20
    with torch.no_grad():
        vq.codebook.copy_(torch.linspace(0, 1, 2**20)[:, None])
    assert vq(vq.codebook[[5, 2**20 - 1]].detach()).indices.flatten().tolist() == [5, 2**20 - 1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"codebook_size": 1}, "codebook_size of at least 2, got 1"),
        ({"codebook_size": 4, "commitment_weight": -0.1}, "commitment_weight must be .* got -0.1"),
        ({"codebook_size": 4, "commitment_weight": float("nan")}, "commitment_weight .* got nan"),
        ({"codebook_size": 4, "commitment_weight": float("inf")}, "commitment_weight .* got inf"),
        ({"codebook_size": 4, "latent_channels": 0}, "latent_channels must be at least 1, got 0"),
        ({"codebook_size": 4, "estimator": "rotate"}, "rotation, diveq; got 'rotate'"),
        ({"codebook_size": 4, "init": "normal"}, "init 'uniform' or 'kmeans', got 'normal'"),
        (
            {"codebook_size": 4, "latent_channels": 1, "estimator": "rotation"},
            "codes of at least 2 channels, got 1",
        ),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        build_unchecked("vq", **wrong)
