"""Facts of multi-group VQ: Jia et al. 2025, and the re-anchoring of Zheng and Vedaldi 2023."""

import inspect
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from unchecked import build_unchecked

from quantizers import Quantizer, build, lookup, mgvq
from quantizers.parts import processes

GROUPS, CHANNELS, SIZE = 2, 3, 5


def make(**parameters) -> Quantizer:
    small = {"groups": GROUPS, "group_channels": CHANNELS, "codebook_size": SIZE}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build("mgvq", **small | parameters)


@pytest.fixture
def z():
    return torch.randn(4, GROUPS * CHANNELS, 5, 2, generator=torch.Generator().manual_seed(1))


def codebooks(quantizer: Quantizer) -> Tensor:
    """A copy, of shape (groups, v, d)."""
    return torch.stack([each.codebook.detach().clone() for each in quantizer.subquantizers])


def subtokens(z: Tensor) -> Tensor:
    """Unit vectors of shape (groups, n, d)."""
    tokens = z.detach().movedim(1, -1).flatten(0, -2).unflatten(1, (-1, CHANNELS))
    return F.normalize(tokens, dim=-1).movedim(1, 0)


def update(quantizer: Quantizer, seed: int = 0) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        quantizer.update()


def test_between_updates_it_is_gsq_with_a_codebook_for_each_group(z):
    quantizer = make(commitment_weight=0.4)
    gsq = build(
        "gsq",
        groups=GROUPS,
        group_channels=CHANNELS,
        codebook_size=SIZE,
        shared=False,
        spherical=True,
        commitment_weight=0.4,
    )
    gsq.load_state_dict({"codebook": codebooks(quantizer)})
    latents = [z.clone().requires_grad_(), z.clone().requires_grad_()]
    outputs = [quantizer(latents[0]), gsq(latents[1])]
    assert torch.equal(outputs[0].indices, outputs[1].indices)
    torch.testing.assert_close(outputs[0].quantized, outputs[1].quantized)
    torch.testing.assert_close(dict(outputs[0].losses), dict(outputs[1].losses))
    totals = [o.quantized.sin().sum() + sum(o.losses.values()) for o in outputs]
    codes = [each.codebook for each in quantizer.subquantizers]
    found = torch.autograd.grad(totals[0], [latents[0], *codes])
    expected = torch.autograd.grad(totals[1], [latents[1], gsq.codebook])
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(torch.stack(found[1:]), expected[1])


def test_one_group_is_cosine_vq(z):
    quantizer = make(groups=1)
    cosine_vq = build("cosine_vq", latent_channels=CHANNELS, codebook_size=SIZE)
    cosine_vq.load_state_dict({"codebook": codebooks(quantizer)[0]})
    output, expected = quantizer(z[:, :CHANNELS]), cosine_vq(z[:, :CHANNELS])
    assert torch.equal(output.indices, expected.indices)
    assert torch.equal(output.quantized, expected.quantized)
    assert dict(output.losses) == dict(expected.losses)


def test_the_first_update_replaces_codes_that_no_latent_chose_by_latents_of_their_group(z):
    quantizer = make(codebook_size=100)  # more codes than latents: most are never chosen
    quantizer(z)
    update(quantizer)
    unused = quantizer.usage == 0
    assert unused.float().mean() > 0.6
    distances = torch.cdist(codebooks(quantizer), subtokens(z)).amin(dim=2)
    assert (distances[unused] < 2.1e-3).all()
    assert not (torch.cdist(codebooks(quantizer), subtokens(z).flip(0)).amin(2) < 2.1e-3).all()


def test_a_code_moves_by_the_share_that_its_usage_leaves(z):
    quantizer = make(decay=0.5)
    quantizer.usage.copy_(torch.tensor([0.0, 1e-3, 3e-3, 0.01, 0.2]))
    before, usage = codebooks(quantizer).double(), quantizer.usage.clone().double()
    indices = quantizer(z).indices
    with torch.random.fork_rng():
        torch.manual_seed(4)
        latents = subtokens(z)
        anchors = [
            latents[group][
                torch.multinomial((2 * before[group].float() @ latents[group].T).softmax(1), 1)
            ].squeeze(1)
            for group in range(GROUPS)
        ]
    counts = [indices[:, group].flatten().bincount(minlength=SIZE) for group in range(GROUPS)]
    usage = 0.5 * usage + 0.5 * torch.stack(counts).double() / 40
    stay = 1 - (-10 * SIZE * usage / 0.5 - 1e-3).exp()[..., None]
    update(quantizer, seed=4)
    torch.testing.assert_close(quantizer.usage.double(), usage, rtol=1e-5, atol=1e-7)
    expected = stay * before + (1 - stay) * torch.stack(anchors).double()
    torch.testing.assert_close(codebooks(quantizer).double(), expected, rtol=1e-5, atol=1e-6)


def test_codes_of_mean_use_stay_bit_for_bit(z):
    quantizer = make()
    quantizer.usage.fill_(1 / SIZE)
    before = codebooks(quantizer)
    quantizer(z)
    update(quantizer)
    assert torch.equal(codebooks(quantizer), before)


def test_anchors_are_drawn_with_the_softmax_of_the_negative_squared_distance():
    latents = subtokens(torch.randn(5, CHANNELS, generator=torch.Generator().manual_seed(3)))[0]
    code = torch.tensor([[0.2, -0.5, 0.1]])  # normalised where it is compared
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = mgvq._drawn_by_distance(latents, code.expand(20_000, -1))
    chosen = torch.cdist(drawn, latents).argmin(dim=1)
    squares = (latents.double() - F.normalize(code.double(), dim=1)).square().sum(dim=1)
    found = chosen.bincount(minlength=5) / len(chosen)
    torch.testing.assert_close(found.double(), (-squares).softmax(dim=0), rtol=0, atol=0.015)


def test_usage_is_an_average_over_updates_of_all_forwards_since_the_last(z):
    quantizer = make(decay=0.9)
    quantizer.eval()(z)
    update(quantizer)
    assert not quantizer.usage.any()
    quantizer.train()
    whole = make(decay=0.9)
    whole(z)
    quantizer(z[:1])
    quantizer(z[1:])
    update(quantizer)
    update(whole)
    assert torch.equal(quantizer.usage, whole.usage)
    torch.testing.assert_close(whole.usage.sum(dim=1), torch.full((GROUPS,), 0.1))
    assert not quantizer.pending.sums.any()
    assert len(quantizer.pending.latents) == 0
    before = codebooks(quantizer)
    update(quantizer)
    assert torch.equal(codebooks(quantizer), before)


def test_the_state_is_codes_and_usage():
    state = make().state_dict()
    names = {f"subquantizers.{group}.codebook" for group in range(GROUPS)}
    assert set(state) == {"usage", *names}


def test_processes_count_together_and_take_the_codes_of_the_first(z, monkeypatch):
    quantizer, whole = make(), make()
    peer = make()
    peer(z[:1])
    sent: list[tuple[Tensor, int]] = []
    monkeypatch.setattr(processes, "is_distributed", lambda: True)
    monkeypatch.setattr(processes.dist, "all_reduce", lambda counts: counts.add_(peer.pending.sums))
    monkeypatch.setattr(
        processes.dist, "broadcast", lambda code, src: sent.append((code.clone(), src))
    )
    quantizer(z[1:])
    update(quantizer)
    assert [source for _, source in sent] == [0, 0]
    assert torch.equal(torch.stack([code for code, _ in sent]), codebooks(quantizer))
    monkeypatch.setattr(processes, "is_distributed", lambda: False)
    whole(z)
    update(whole)
    assert torch.equal(quantizer.usage, whole.usage)


def test_defaults_and_start_values_are_those_of_the_released_code():
    parameters = inspect.signature(lookup("mgvq")).parameters
    assert parameters["decay"].default == 1 - 0.01
    assert parameters["commitment_weight"].default == 0.25
    quantizer = make(codebook_size=1000)
    torch.testing.assert_close(codebooks(quantizer).norm(dim=2), torch.ones(GROUPS, 1000))
    assert not torch.equal(*codebooks(quantizer))
    assert not quantizer.usage.any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"groups": 0}, "got 0, 4 and 8"),
        ({"group_channels": 1}, "group_channels >= 2 .* got 2, 1 and 8"),
        ({"codebook_size": 1}, "codebook_size >= 2, got 2, 4 and 1"),
        ({"decay": 1.0}, r"decay in \[0, 1\), got 1.0"),
        ({"decay": -0.1}, "got -0.1"),
        ({"commitment_weight": math.nan}, "commitment_weight must be .* got nan"),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, message):
    small = {"groups": 2, "group_channels": 4, "codebook_size": 8}
    with pytest.raises(ValueError, match=message):
        build_unchecked("mgvq", **small | wrong)
