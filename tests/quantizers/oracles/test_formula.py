"""vqtorch and the released code of GSQ, by their formulas, computed here in float64.

Neither can be installed as a package: vqtorch (commit 02e60a1) has to be cloned, and flex_gen
(commit 744078f, the released code of GSQ) has no licence, so nothing of it is kept. What their
classes compute is written down below from those commits. Where `vqtorch` can be imported, the tests
marked `oracle` compare with it, too.
"""

import pytest
import torch
import torch.nn.functional as F
from margin import clear, clear_in_every_stage, normal
from torch import Tensor

from quantizers import Quantizer, build

TOKENS = 500


def nearest_in_float64(latents: Tensor, codebook: Tensor) -> Tensor:
    return torch.cdist(latents.double(), codebook.double()).argmin(dim=-1)


def vq_of(codebook: Tensor, beta: float) -> Quantizer:
    """VQ; `beta` times its losses is vqtorch's: there beta weights the codes, 1 - beta the rest."""
    size, channels = codebook.shape
    ours = build(
        "vq",
        latent_channels=channels,
        codebook_size=size,
        commitment_weight=(1 - beta) / beta,
    )
    ours.load_state_dict({"codebook": codebook})
    return ours


def product_vq_of(codebook: Tensor, groups: int) -> Quantizer:
    """Product VQ: group g searches the g-th of equal parts of a codebook."""
    parts = codebook.chunk(groups)
    ours = build(
        "product_vq",
        groups=groups,
        group_channels=codebook.shape[1],
        codebook_size=len(parts[0]),
    )
    ours.load_state_dict({f"subquantizers.{g}.codebook": part for g, part in enumerate(parts)})
    return ours


def rvq_of(codebook: Tensor, stages: int) -> Quantizer:
    size, channels = codebook.shape
    ours = build("rvq", latent_channels=channels, codebook_size=size, stages=stages)
    ours.load_state_dict({"quantizers.0.codebook": codebook})
    return ours


@pytest.mark.parametrize("beta", [0.95, 0.8, 0.5, 1.0])
def test_vq_has_the_loss_of_vqtorch_once_its_beta_is_converted(beta):
    """(1 - beta) |z - sg q|^2 + beta |sg z - q|^2, mean over all elements."""
    z, codebook = normal(2, TOKENS, 16).requires_grad_(), normal(64, 16, seed=1)
    ours = vq_of(codebook, beta)
    output = ours(z.mT)
    u, codes = z.detach().double().requires_grad_(), codebook.double().requires_grad_()
    chosen = codes[nearest_in_float64(u.detach(), codes.detach())]
    expected = (1 - beta) * (u - chosen.detach()).square().mean()
    expected = expected + beta * (u.detach() - chosen).square().mean()
    loss = beta * sum(output.losses.values())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    ours_at = torch.autograd.grad(loss, [z, *ours.parameters()])
    theirs_at = torch.autograd.grad(expected, [u, codes])
    for found, reference in zip(ours_at, theirs_at, strict=True):
        torch.testing.assert_close(found.double(), reference, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("groups", [1, 4])
def test_product_vq_has_the_indices_of_vqtorchs_groups_without_their_offsets(groups):
    """There one table holds the codes of all groups, and group g counts from g V / G."""
    z, codebook = normal(1, TOKENS, 16), normal(256, 16 // groups, seed=1)
    output = product_vq_of(codebook, groups)(z.mT)
    size = len(codebook) // groups
    for group, latents in enumerate(z[0].chunk(groups, dim=-1)):
        part = codebook[group * size : (group + 1) * size]
        offset_indices = nearest_in_float64(latents, part) + group * size
        keep = clear(latents, part)
        assert keep.float().mean() > 0.99
        found = output.indices[0, group] + group * size
        assert torch.equal(found[keep], offset_indices[keep])
        quantized = output.quantized[0].chunk(groups)[group].T
        assert torch.equal(quantized[keep], codebook[offset_indices][keep])


def test_rvq_emits_the_sum_of_codes_that_vqtorch_does():
    """One codebook for all stages, and each sees what the stages before it left over."""
    z, codebook = normal(1, TOKENS, 8), normal(64, 8, seed=1)
    output = rvq_of(codebook, 3)(z.mT)
    residual, indices = z[0].double(), []
    for _ in range(3):
        indices.append(nearest_in_float64(residual, codebook))
        residual = residual - codebook.double()[indices[-1]]
    keep = clear_in_every_stage(z[0], codebook.expand(3, -1, -1))
    assert keep.float().mean() > 0.99
    assert torch.equal(output.indices[0].T[keep], torch.stack(indices, dim=-1)[keep])
    expected = (z[0].double() - residual).float()
    torch.testing.assert_close(output.quantized[0].T[keep], expected[keep], rtol=0, atol=1e-6)


@pytest.mark.oracle
def test_vq_equals_vqtorch():
    vqtorch = pytest.importorskip("vqtorch.nn")
    z, codebook = normal(2, TOKENS, 16), normal(64, 16, seed=1)
    theirs = vqtorch.VectorQuant(feature_size=16, num_codes=64, beta=0.95, dim=-1)
    theirs.codebook.weight.data.copy_(codebook)
    quantized, found = theirs(z)
    output = vq_of(codebook, 0.95)(z.mT)
    keep = clear(z, codebook)
    assert torch.equal(output.indices.squeeze(1)[keep], found["q"].squeeze(-1)[keep])
    torch.testing.assert_close(output.quantized.mT[keep], quantized[keep], rtol=0, atol=1e-6)
    torch.testing.assert_close(0.95 * sum(output.losses.values()), found["loss"])


@pytest.mark.oracle
def test_grouped_and_residual_indices_equal_vqtorchs():
    vqtorch = pytest.importorskip("vqtorch.nn")
    z, codebook = normal(1, TOKENS, 16), normal(256, 4, seed=1)
    theirs = vqtorch.GroupVectorQuant(feature_size=16, num_codes=256, groups=4, share=False, dim=-1)
    theirs.codebook.weight.data.copy_(codebook)
    indices = product_vq_of(codebook, 4)(z.mT).indices[0].T + 64 * torch.arange(4)
    parts = z[0].unflatten(-1, (4, 4)).transpose(0, 1)
    keep = clear(parts, codebook.view(4, 64, 4)).all(dim=0)
    assert torch.equal(indices[keep], theirs(z)[1]["q"][0][keep])

    codebook = normal(64, 16, seed=1)
    theirs = vqtorch.ResidualVectorQuant(feature_size=16, num_codes=64, groups=3, dim=-1)
    theirs.codebook.weight.data.copy_(codebook)
    output = rvq_of(codebook, 3)(z.mT)
    keep = clear_in_every_stage(z[0], codebook.expand(3, -1, -1))
    assert torch.equal(output.indices[0].T[keep], theirs(z)[1]["q"][0][keep])
    torch.testing.assert_close(
        output.quantized.mT[0][keep], theirs(z)[0][0][keep], rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(("groups", "group_channels"), [(1, 8), (4, 4), (2, 3)])
@pytest.mark.parametrize("drift", [0.0, 0.3])
def test_gsq_with_raw_emission_is_the_released_gsq(groups, group_channels, drift):
    """It searches unit vectors, emits raw rows, and compares those with the unit latents.

    At the start all rows have length one, and the loss is 1.25 mean((code - u)^2). Training moves
    rows off the sphere, as `drift` does here.
    """
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        ours = build(
            "gsq",
            groups=groups,
            group_channels=group_channels,
            codebook_size=64,
            emit="raw",
            spherical=True,
        )
        ours.codebook.mul_(1 + drift * normal(64, 1, seed=2).tanh())
    rows = ours.codebook[0].detach()
    z = normal(1, TOKENS, groups * group_channels)
    output = ours(z.mT)
    u = F.normalize(z[0].double().unflatten(-1, (groups, -1)), dim=-1)
    units = F.normalize(rows.double(), dim=-1)
    expected = nearest_in_float64(u.flatten(0, 1), units).view(-1, groups)
    keep = clear(u, units).all(dim=-1)
    assert keep.float().mean() > 0.99
    assert torch.equal(output.indices[0].T[keep], expected[keep])
    assert torch.equal(output.quantized[0].T[keep], rows[expected].flatten(1)[keep])
    error = (rows[expected].double() - u).square().mean()
    loss = sum(output.losses.values())
    assert loss.item() == pytest.approx(1.25 * error.item(), rel=1e-5)
    lengths = output.quantized[0].T.unflatten(-1, (groups, -1)).norm(dim=-1)
    assert ((lengths - 1).abs().max() < 1e-6) == (drift == 0)
