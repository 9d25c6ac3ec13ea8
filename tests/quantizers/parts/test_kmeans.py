"""k-means against its definition and scikit-learn's, and its start."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from quantizers.parts.kmeans import kmeans, lloyd, starts


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def objective(latents: Tensor, centres: Tensor) -> float:
    """Mean squared distance to the nearest centre, in float64."""
    distances = torch.cdist(latents.double(), centres.double())
    return float(distances.min(dim=1).values.square().mean())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_the_objective_never_grows(seed, offset):
    latents = normal(300, 3, seed=seed) + offset
    centres = latents[:20]
    values = [objective(latents, lloyd(latents, centres, count)) for count in range(15)]
    assert all(later <= earlier * (1 + 1e-6) for earlier, later in itertools.pairwise(values))
    assert values[-1] < 0.9 * values[0]


def test_every_centre_becomes_the_mean_of_its_latents():
    latents, centres = normal(300, 3), normal(8, 3, seed=1)
    choices = torch.cdist(latents.double(), centres.double()).argmin(dim=1)
    means = torch.stack([latents[choices == code].double().mean(dim=0) for code in range(8)])
    torch.testing.assert_close(lloyd(latents, centres, 1), means.float())


def test_a_centre_without_latents_stays_where_it_is():
    centres = torch.tensor([[0.0, 0.0], [50.0, 50.0]])
    moved = lloyd(normal(100, 2), centres, 5)
    assert moved[1].tolist() == [50.0, 50.0]
    torch.testing.assert_close(moved[0], normal(100, 2).mean(dim=0))


@pytest.mark.oracle
@pytest.mark.parametrize(("d", "codes", "iterations"), [(2, 8, 1), (4, 32, 7), (16, 64, 30)])
def test_lloyd_equals_scikit_learn_from_equal_starts(d, codes, iterations):
    cluster = pytest.importorskip("sklearn.cluster")
    latents = normal(2000, d)
    with warnings.catch_warnings():  # it warns when it stops before it has converged
        warnings.simplefilter("ignore")
        theirs = cluster.KMeans(
            codes, init=latents[:codes].numpy(), n_init=1, max_iter=iterations, tol=0
        ).fit(latents.numpy())
    ours = lloyd(latents, latents[:codes], iterations)
    np.testing.assert_allclose(ours.numpy(), theirs.cluster_centers_, rtol=0, atol=1e-4)


def test_starts_are_different_latents():
    latents = normal(50, 3)
    centres = starts(latents, 50)
    assert torch.equal(centres.sort(dim=0).values, latents.sort(dim=0).values)
    assert not torch.equal(centres, latents)


def test_fewer_latents_than_codes_become_several_codes_each_that_differ():
    latents = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 20.0]])
    centres = starts(latents, 8)
    assert len(centres.unique(dim=0)) == 8
    choices = torch.cdist(centres, latents).argmin(dim=1)
    assert sorted(torch.bincount(choices).tolist()) == [2, 3, 3]
    assert torch.cdist(centres, latents).min(dim=1).values.max() < 1.0


def test_equal_latents_make_equal_codes():
    assert torch.equal(kmeans(torch.ones(4, 2), 3), torch.ones(3, 2))


def test_separate_clusters_are_found_from_the_generator_alone():
    corners = 10 * torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    latents = corners.repeat_interleave(50, dim=0) + 0.1 * normal(200, 2)
    results = []
    for _ in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            results.append(kmeans(latents, 40))
    assert torch.equal(*results)
    assert objective(latents, results[0]) < 0.02


def test_ten_iterations_follow_the_starts():
    latents = normal(300, 3)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        found = kmeans(latents, 20)
        torch.manual_seed(3)
        expected = lloyd(latents, starts(latents, 20), 10)
        assert torch.equal(found, expected)
