import math

import numpy as np
import pytest
from scipy import stats

from bench.statistics.over_seeds import seed_difference


def test_it_is_the_paired_t_test():
    a, b = [3.0, 4.0, 6.0, 5.5], [2.0, 3.9, 4.0, 5.0]
    found, oracle = seed_difference(a, b), stats.ttest_rel(a, b)
    interval = oracle.confidence_interval(0.95)
    assert found.value == pytest.approx(np.mean(np.subtract(a, b)))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p == pytest.approx(oracle.pvalue)


def test_one_seed_has_no_interval():
    found = seed_difference([3.0], [1.0])
    assert found.value == 2
    assert math.isnan(found.p)
    assert math.isnan(found.low)


def test_equal_differences_have_no_p_value_and_equal_values_none_below_one():
    assert math.isnan(seed_difference([1.0, 2.0], [0.0, 1.0]).p)
    assert seed_difference([1.0, 2.0], [1.0, 2.0]).p == 1


def test_unequal_numbers_of_seeds_are_refused():
    with pytest.raises(ValueError, match="2 and 1"):
        seed_difference([1.0, 2.0], [1.0])
