from records import record

from bench.report.comparison import difference
from bench.report.metric import described
from bench.report.ranking import find_floor, gaps_to, rank

SEEDS = (0.0, 0.2, -0.2)


def row(name, mean, spread=SEEDS):
    """One record a seed; each method spreads a little differently, so that errors are not zero."""
    wobble = 0.02 * (ord(name) % 3 + 1)
    return [
        record(name, seed, mean + offset + wobble * (seed % 2))
        for seed, offset in enumerate(spread)
    ]


def ranks(*rows, metric="psnr_db", floor=None):
    return [(s.index, s.rank) for s in rank(rows, described(metric), floor)]


def test_clearly_different_rows_have_ranks_of_their_own():
    assert ranks(row("a", 30), row("b", 28), row("c", 26)) == [(0, 1), (1, 2), (2, 3)]


def test_rows_tied_with_the_best_share_its_rank_and_the_next_one_skips():
    assert ranks(row("a", 30), row("b", 29.99), row("c", 26)) == [(0, 1), (1, 1), (2, 3)]


def test_no_row_ranks_above_one_with_a_better_mean():
    """A noisy row cannot be told from the best, and still stands below a precise second."""
    noisy = row("c", 27.5, (-4.0, 1.0, 3.0))
    assert ranks(row("a", 30), row("b", 28), noisy) == [(0, 1), (1, 2), (2, 2)]


def test_a_lower_distance_is_better():
    rows = [row("a", 30), row("b", 30)]
    for place, one in enumerate(rows):
        for each in one:
            each.metrics["fd"] = 1.0 + place + 0.01 * place * each.seed
            each.leave_group_out["fd"] = [each.metrics["fd"]] * 20
    assert ranks(*rows, metric="fd") == [(0, 1), (1, 2)]


def test_differences_are_taken_over_common_seeds_alone():
    longer = row("b", 28, (0.0, 0.2, -0.2, 50.0))
    found = difference(row("a", 30), longer, "psnr_db")
    assert found.seeds == 3
    assert 1.9 < found.value < 2.1


def test_without_common_seeds_or_values_there_is_no_difference():
    other = [record("b", seed) for seed in (7, 8, 9)]
    assert difference(row("a", 30), other, "psnr_db") is None
    assert gaps_to(row("a", 30), [other], "psnr_db", None)[0].tie
    assert difference(row("a", 30), row("b", 30), "unknown") is None
    exact = row("b", 30)
    exact[0].per_image["psnr_db"][3] = None
    assert difference(row("a", 30), exact, "psnr_db") is None


def test_holm_makes_a_close_call_a_tie_where_many_rows_are_compared():
    best, close = row("a", 30), row("b", 29.9, (0.0, 0.21, -0.21))
    alone = gaps_to(best, [close], "psnr_db", None)[0]
    among = gaps_to(best, [close, *(row("c", 29.95) for _ in range(30))], "psnr_db", None)[0]
    assert alone.difference == among.difference
    assert alone.p < among.p


def test_differences_within_the_floor_are_ties():
    wide = (1.0, -1.0, 0.5, -0.5, 0.0)
    best, next_best = row("a", 30, wide), row("b", 29.5, wide)
    assert ranks(best, next_best) == [(0, 1), (1, 2)]
    floor = find_floor([("a", best), ("b", next_best)])
    assert floor.name == "a"
    assert floor.of("psnr_db", seeds=5) > 0.5
    assert ranks(best, next_best, floor=floor) == [(0, 1), (1, 1)]


def test_a_floor_needs_five_seeds_and_the_row_with_most_gives_it():
    assert find_floor([("a", row("a", 30))]) is None
    five, six = row("a", 30, range(5)), row("b", 30, range(6))
    floor = find_floor([("a", five), ("b", six)])
    assert (floor.name, floor.seeds) == ("b", 6)
    assert floor.of("no such metric") == 0
