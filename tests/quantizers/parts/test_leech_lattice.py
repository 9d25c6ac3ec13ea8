"""The Golay code and the shortest vectors of the Leech lattice, against their known counts; the
structured search against the enumeration of all vectors in float64."""

import pytest
import torch
from torch import Tensor

from quantizers.parts.leech_lattice import (
    golay_words,
    minimal_vectors,
    nearest_minimal_vector,
    octads,
)


@pytest.fixture(scope="module")
def words():
    return golay_words()


@pytest.fixture(scope="module")
def vectors(words):
    return minimal_vectors(words)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def enumerate_all(latents: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Largest score and its lowest index, in float64."""
    scores = [(part.double() @ vectors.double().T).max(dim=1) for part in latents.split(64)]
    return torch.cat([part[0] for part in scores]), torch.cat([part[1] for part in scores])


def test_golay_words_have_the_weights_of_the_golay_code(words):
    weights = words.sum(dim=1).bincount(minlength=25)
    assert {w: int(n) for w, n in enumerate(weights) if n} == {
        0: 1,
        8: 759,
        12: 2576,
        16: 759,
        24: 1,
    }


def test_golay_words_are_closed_under_addition(words):
    powers = 2 ** torch.arange(24)
    numbers = (words * powers).sum(dim=1)
    assert len(numbers.unique()) == 4096
    for k in range(12):
        sums = ((words ^ words[2**k]) * powers).sum(dim=1)
        assert torch.equal(sums.sort().values, numbers.sort().values)


def test_any_five_places_lie_in_exactly_one_octad(words):
    blocks = torch.zeros(759, 24).scatter_(1, octads(words), 1)
    for seed in range(50):
        five = torch.randperm(24, generator=torch.Generator().manual_seed(seed))[:5]
        assert int((blocks[:, five].sum(dim=1) == 5).sum()) == 1


def test_there_are_196560_different_vectors_of_squared_length_32(vectors):
    assert vectors.shape == (196_560, 24)
    assert vectors.dtype == torch.int8
    assert len(vectors.unique(dim=0)) == 196_560
    assert (vectors.int().square().sum(dim=1) == 32).all()


def test_the_three_shapes_come_one_after_the_other(vectors):
    shapes = vectors.abs().sort(dim=1, descending=True).values
    octad = torch.tensor([2] * 8 + [0] * 16)
    word = torch.tensor([3] + [1] * 23)
    pair = torch.tensor([4] * 2 + [0] * 22)
    expected = torch.cat([octad.expand(97_152, -1), word.expand(98_304, -1), pair.expand(1104, -1)])
    assert torch.equal(shapes, expected.to(torch.int8))


@pytest.mark.parametrize("index", [0, 97_151, 97_152, 195_455, 195_456, 196_559])
def test_every_vector_sees_the_others_at_the_angles_of_the_leech_lattice(vectors, index):
    products = (vectors.int() @ vectors[index].int()).unique(return_counts=True)
    counts = dict(zip(*(part.tolist() for part in products), strict=True))
    assert counts == {
        32: 1, 16: 4600, 8: 47_104, 0: 93_150, -8: 47_104, -16: 4600, -32: 1
    }  # fmt: skip


def test_differences_of_vectors_lie_in_the_lattice(vectors):
    """All inner products are multiples of 8, and so are sums of coordinates by 4."""
    some = vectors[:: 196_560 // 500].int()
    assert ((some @ some.T) % 8 == 0).all()
    assert (vectors.int().sum(dim=1) % 4 == 0).all()
    assert (vectors.int() % 2).unique(dim=0).shape[0] == 2


def test_the_opposite_of_a_vector_is_a_vector(vectors):
    assert torch.equal(vectors.unique(dim=0), (-vectors).unique(dim=0))


@pytest.mark.parametrize("step", [59, pytest.param(1, marks=pytest.mark.slow)])
def test_every_vector_is_nearest_to_itself(words, vectors, step):
    """By default every 59th: odd, so all places and signs of all shapes are among them."""
    for some in torch.arange(0, 196_560, step).split(32_768):
        found = nearest_minimal_vector(vectors[some].float() / 32**0.5, words)
        assert torch.equal(found, some)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 5e37])
def test_the_search_finds_what_the_enumeration_finds(words, vectors, scale):
    z = normal(257, 24)
    best, index = enumerate_all(z, vectors)
    found = nearest_minimal_vector(z * scale, words)
    torch.testing.assert_close((vectors[found] * z.double()).sum(dim=1), best, rtol=1e-6, atol=0)
    assert torch.equal(found, index)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 4])
def test_ties_go_to_the_lowest_index(words, vectors, limit, sparse):
    """Small whole numbers are added exactly, and most of them have several nearest vectors."""
    generator = torch.Generator().manual_seed(limit)
    z = torch.randint(-limit, limit + 1, (150, 24), generator=generator).float()
    if sparse:
        z = z * (torch.rand(150, 24, generator=generator) < 0.3)
    _, index = enumerate_all(z, vectors)
    assert torch.equal(nearest_minimal_vector(z, words), index)
    assert torch.equal(nearest_minimal_vector(z.neg().neg(), words), index)


def test_ties_between_the_signs_of_an_octad_go_to_the_lowest_index(words, vectors):
    """An odd number of minus signs on a single octad: any of its smallest elements may flip."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(759, (200, 1), generator=generator)
    elements = torch.randint(1, 3, (200, 8), generator=generator).float()
    elements *= torch.randint(0, 2, (200, 8), generator=generator) * 2 - 1
    z = torch.zeros(200, 24).scatter_(1, octads(words)[rows[:, 0]], elements)
    _, index = enumerate_all(z, vectors)
    assert torch.equal(nearest_minimal_vector(z, words), index)


def test_zero_gets_index_zero_whatever_its_sign(words):
    zeros = torch.stack([torch.zeros(24), -torch.zeros(24)])
    assert nearest_minimal_vector(zeros, words).tolist() == [0, 0]


def test_no_latent_is_no_error(words):
    assert nearest_minimal_vector(torch.zeros(0, 24), words).shape == (0,)


def test_a_latent_gets_the_same_index_in_any_batch(words):
    z = normal(300, 24, seed=3)
    together = nearest_minimal_vector(z, words)
    for size in (1, 7, 128, 129):
        apart = [nearest_minimal_vector(part, words) for part in z[: 10 + size].split(size)]
        assert torch.equal(torch.cat(apart), together[: 10 + size])
