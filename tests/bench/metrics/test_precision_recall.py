import numpy as np
import pytest
import torch

from bench.metrics.precision_recall import (
    jackknifed_precision,
    jackknifed_recall,
    precision,
    recall,
)


def features(count, dimension, seed, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dimension, generator=generator) + shift


@pytest.fixture(scope="module")
def sets():
    """Two overlapping sets of unequal sizes."""
    return features(90, 6, seed=0), features(70, 6, seed=1, shift=0.8)


def by_hand(balls, points, neighbours):
    """The definition with loops, in float64, from differences."""
    balls, points = balls.double().numpy(), points.double().numpy()
    inside = np.zeros(len(points), dtype=bool)
    for centre in balls:
        to_others = np.sort(np.linalg.norm(balls - centre, axis=1))
        inside |= np.linalg.norm(points - centre, axis=1) <= to_others[neighbours]
    return inside.mean()


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_both_equal_the_definition_written_with_loops(sets, neighbours):
    reference, reconstruction = sets
    expected = by_hand(reference, reconstruction, neighbours)
    assert 0 < expected < 1
    assert precision(*sets, neighbours=neighbours) == expected
    expected = by_hand(reconstruction, reference, neighbours)
    assert 0 < expected < 1
    assert recall(*sets, neighbours=neighbours) == expected


@pytest.mark.parametrize("function", ["part", "full"])
def test_both_equal_torch_fidelity(sets, function):
    from torch_fidelity import metric_prc

    reference, reconstruction = sets
    calculate = getattr(metric_prc, f"calculate_precision_recall_{function}")
    expected = calculate(reconstruction, reference, 3, 1000)  # generated, real
    assert (precision(*sets), recall(*sets)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "kind", ["distinct", "each five times", "all equal", "far from the origin"]
)
def test_identity_scores_one(kind):
    x = {
        "distinct": features(40, 9, seed=2),
        "each five times": features(8, 9, seed=2).repeat(5, 1),
        "all equal": torch.full((12, 9), 0.1),
        "far from the origin": features(8, 9, seed=2, shift=1e4).repeat(5, 1),
    }[kind]
    assert precision(x, x.clone(), rows=7) == 1
    assert recall(x, x.clone(), rows=7) == 1


def test_sets_far_apart_score_zero():
    first, second = features(30, 4, seed=0), features(30, 4, seed=1, shift=100)
    assert precision(first, second) == 0
    assert recall(first, second) == 0


def test_one_mode_of_two_is_precise_and_recalls_half():
    modes = torch.cat([features(50, 4, seed=0), features(50, 4, seed=1, shift=50)])
    one = modes[:50].repeat(2, 1)
    assert precision(modes, one) == 1
    assert recall(modes, one) == 0.5


def test_neither_the_order_nor_the_blocks_matter(sets):
    reference, reconstruction = sets
    order = torch.randperm(len(reference), generator=torch.Generator().manual_seed(3))
    for metric in (precision, recall):
        expected = metric(*sets)
        assert metric(reference[order], reconstruction.flip(0)) == expected
        assert metric(*sets, rows=1) == metric(*sets, rows=13) == expected


def test_a_feature_at_the_very_radius_is_inside():
    line = torch.tensor([[0.0], [1.0], [2.0], [3.0]])  # the radius of each end is 3
    edge = torch.tensor([[-3.0], [6.0], [-3.001], [6.001]])
    assert precision(line, edge) == 0.5


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [((3, 5), (9, 5), "got 3 and 9 images"), ((9, 5), (9, 4), "must have one dimension")],
)
def test_too_few_and_unlike_features_are_refused(first, second, message, as_users_run):
    with pytest.raises(ValueError, match=message):
        precision(torch.zeros(first), torch.zeros(second))


def test_both_are_computed_again_without_each_group_of_images(sets):
    reference, reconstruction = (features[:60] for features in sets)
    kept = torch.arange(60) % 20 != 7
    for metric, repeated in ((precision, jackknifed_precision), (recall, jackknifed_recall)):
        value, left_out = repeated(reference, reconstruction)
        assert value == metric(reference, reconstruction)
        assert len(left_out) == 20
        assert left_out[7] == metric(reference[kept], reconstruction[kept])
    assert jackknifed_precision(reference[:4], reconstruction[:4]).leave_group_out == []
