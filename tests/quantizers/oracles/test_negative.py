"""Faults of released code that must not be here, each beside what it computes.

They are those of vector-quantize-pytorch 1.32.0, bsq-vit, SimVQ, and flex_gen, the released code of
GSQ. Where the package can be installed, a test marked `oracle` shows that the fault is there.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from margin import normal
from torch import Tensor

from quantizers import Quantizer, build
from quantizers.parts import processes


def vq_before_k_means() -> Quantizer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build("vq", latent_channels=8, codebook_size=16, init="kmeans")


def test_k_means_never_starts_in_eval_mode():
    vq, z = vq_before_k_means().eval(), normal(4, 8, 50, seed=1)
    before = copy.deepcopy(vq.state_dict())
    vq(z)
    vq.update()
    assert all(torch.equal(value, before[key]) for key, value in vq.state_dict().items())
    assert not vq.has_centres
    vq.train()(z)
    vq.update()
    assert vq.has_centres


@pytest.mark.oracle
def test_k_means_of_vector_quantize_starts_in_eval_mode(vqp):
    theirs = vqp.VectorQuantize(dim=8, codebook_size=16, kmeans_init=True).eval()
    before = copy.deepcopy(theirs.state_dict())
    theirs(normal(4, 50, 8, seed=1))
    assert not all(torch.equal(value, before[key]) for key, value in theirs.state_dict().items())


def test_tokens_that_are_left_out_change_no_code_of_a_grouped_method():
    """There is no mask here: a caller passes only the tokens that count."""
    z, mask = normal(1, 16, 60), normal(60, seed=1) > 0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ours = build("product_vq", groups=4, group_channels=4, codebook_size=32).eval()
    whole, part = ours(z), ours(z[:, :, mask])
    assert torch.equal(part.indices, whole.indices[:, :, mask])
    assert torch.equal(part.quantized, whole.quantized[:, :, mask])


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:Using a target size")  # of the same sizes, before the error
def test_a_mask_stops_vector_quantize_with_heads(vqp):
    theirs = vqp.VectorQuantize(dim=16, heads=4, codebook_dim=4, codebook_size=32).train()
    theirs(normal(1, 60, 16))
    with pytest.raises(RuntimeError, match="must match the size"):
        theirs(normal(1, 60, 16), mask=normal(1, 60, seed=1) > 0)


def test_the_entropy_of_a_batch_is_not_that_of_one_process_over_their_number(monkeypatch):
    """Dropping the result of an all-reduce leaves p / W: with W = 2, H / 2 + ln(2) / 2 is lost.

    Two processes, one after the other: the second's sums are kept, then added to the first's.
    """
    bits, own, peers = 7, normal(400, 7) - 0.5, normal(300, 7, seed=1) + 0.5
    lfq = build("lfq", latent_channels=bits, entropy_weight=1.0, temperature=1.0).train()

    def entropy(z: Tensor) -> float:
        return -lfq(z).losses["batch_entropy"].item()

    alone, whole = entropy(own), entropy(torch.cat([own, peers]))
    kept: list[Tensor] = []
    monkeypatch.setattr(processes, "is_distributed", lambda: True)
    monkeypatch.setattr(processes.dist, "all_reduce", lambda sums: kept.append(sums.clone()))
    entropy(peers)
    monkeypatch.setattr(processes.dist, "all_reduce", lambda sums: sums.add_(kept.pop(0)))
    assert entropy(own) == pytest.approx(whole, rel=1e-5)
    assert not kept
    dropped = alone / 2 + torch.tensor(2.0).log().item() / 2
    assert whole > dropped + 1


@pytest.mark.parametrize(("bits", "wrong"), [(27, 0.6), (36, 0.99)])
def test_an_index_of_many_bits_is_not_summed_in_float32(bits, wrong):
    """There most indices of 27 bits are wrong, and nearly all of 36."""
    z = normal(4000, bits)
    numbers = [int("".join("1" if bit else "0" for bit in row), 2) for row in (z > 0).tolist()]
    exact = torch.tensor(numbers)
    powers = 2.0 ** torch.arange(bits - 1, -1, -1)
    in_float32 = ((z > 0).float() * powers).sum(dim=1).long()
    assert (in_float32 != exact).float().mean() > wrong
    options = {"entropy_weight": 0.0}
    for ours in (
        build("lfq", latent_channels=bits, **options),
        build("bsq", latent_channels=bits, **options),
        build("grouped_lfq", groups=1, group_channels=bits, **options),
    ):
        assert torch.equal(ours(z).indices[:, 0], exact)
        half = ours(z.bfloat16())  # the indices of what bfloat16 kept
        assert torch.equal(half.indices[:, 0], ours(z.bfloat16().float()).indices[:, 0])


def test_an_index_of_a_grid_of_2_to_the_25_is_not_summed_in_float32():
    """There about a quarter of the odd indices above 2^24 become even."""
    levels = (32,) * 5
    fsq = build("fsq", levels=levels)
    exact = torch.arange(2**25 - 4000, 2**25)
    codes = fsq.dequantize(exact[:, None])
    digits = ((codes + 1) * 16).round()
    assert ((digits * 32.0 ** torch.arange(5)).sum(dim=1).long() != exact).float().mean() > 0.2
    latents = (0.999 * codes).atanh().clamp(-5, 5)
    found = fsq(latents)
    assert torch.equal(fsq.dequantize(found.indices), found.quantized)
    assert (found.indices[:, 0] % 2 == 1).float().mean() > 0.4


@pytest.mark.parametrize(
    ("name", "options"), [("simvq", {}), ("group_vq", {"codebook_groups": 4})], ids=str
)
def test_decoding_passes_the_map_of_the_frozen_codes(name, options):
    """The released SimVQ decodes to rows of the frozen codebook, another vector altogether."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ours = build(name, latent_channels=16, codebook_size=64, **options).eval()
    output = ours(normal(200, 16))
    assert torch.equal(ours.dequantize(output.indices), output.quantized)
    frozen = ours.core.view(64, 16)[output.indices[:, 0]]
    assert (frozen - output.quantized).norm() > output.quantized.norm()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lfq", {"latent_channels": 12}),
        ("bsq", {"latent_channels": 12}),
        ("grouped_lfq", {"groups": 3, "group_channels": 4}),
    ],
    ids=str,
)
def test_no_sign_is_inverted(name, options):
    """The released baseline emits the opposite of every sign, unless told otherwise."""
    z = normal(500, 12)
    ours = build(name, **options)
    assert torch.equal(ours(z).quantized.sign(), z.sign())
    assert torch.equal(ours(ours(z).quantized).indices, ours(z).indices)


@pytest.mark.parametrize("shared", [True, False])
def test_a_tie_is_not_broken_at_random(shared):
    """On the sphere of one channel all codes are 1 or -1; there two passes agree on 3 %."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ours = build(
            "gsq",
            groups=16,
            group_channels=1,
            codebook_size=64,
            shared=shared,
            spherical=True,
            init="uniform",
        ).eval()
        passes = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            passes.append(ours(normal(300, 16)).indices)
    assert torch.equal(*passes)
    codes = F.normalize(ours.codebook.detach(), dim=-1).expand(16, -1, -1)[..., 0]
    lowest = torch.stack([(codes == sign).int().argmax(dim=1) for sign in (-1, 1)])
    expected = torch.where(normal(300, 16) > 0, lowest[1], lowest[0])
    assert torch.equal(passes[0], expected)
