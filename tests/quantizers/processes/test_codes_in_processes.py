"""Codes that follow latents, in two processes with batches of unequal length."""

from typing import Any

import codes_in_processes
import pytest
import torch
from two_processes import results_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> list[dict[str, Any]]:
    """What each of the two processes saved."""
    return results_of("codes_in_processes.py", tmp_path_factory.mktemp("processes"))


@pytest.mark.parametrize("name", ["lgq", "mgvq"])
def test_both_processes_end_with_one_state(name, results):
    first, second = (result[name] for result in results)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_the_usage_loss_of_lgq_and_its_averaged_gradient_are_those_of_one_process(results):
    with torch.random.fork_rng():
        lgq = codes_in_processes.made("lgq")
    expected = codes_in_processes.usage_and_gradient(
        lgq, torch.cat([codes_in_processes.batch(rank) for rank in range(2)])
    )
    for result in results:
        torch.testing.assert_close(result["usage"], expected)


def test_the_codes_of_lgq_are_latents_of_the_first_process(results):
    assert results[1]["lgq"]["started"]
    equal = (results[1]["lgq"]["codebook"][:, None] == codes_in_processes.batch(0)).all(dim=2)
    assert equal.any(dim=1).all()


def test_the_usage_of_mgvq_is_that_of_one_process(results):
    with torch.random.fork_rng():
        mgvq = codes_in_processes.made("mgvq")
        mgvq(torch.cat([codes_in_processes.batch(rank) for rank in range(2)]))
        mgvq.update()
    for result in results:
        torch.testing.assert_close(result["mgvq"]["usage"], mgvq.usage)
