"""Two processes with batches of unequal length equal one process with both."""

import pytest
import sums_in_processes
import torch
from torch import Tensor
from two_processes import results_of

from quantizers import build
from quantizers.parts import processes
from quantizers.parts.kmeans import lloyd
from quantizers.parts.processes import is_distributed, sum_over_processes


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> list[dict[str, list[Tensor]]]:
    """What each of the two processes saved."""
    return results_of("sums_in_processes.py", tmp_path_factory.mktemp("processes"))


@pytest.mark.parametrize("name", ["lfq", "bsq", "grouped_lfq", "fsq", "ibq", "gsq"])
def test_entropies_and_averaged_gradients_are_those_of_one_process(name, results):
    inputs = torch.cat([sums_in_processes.batch(rank) for rank in range(2)])
    entropies, gradients = sums_in_processes.entropies_and_gradients(name, inputs)
    for found in results:
        torch.testing.assert_close(found[name], [*entropies, *gradients], rtol=1e-5, atol=1e-6)
    assert any(gradient.abs().max() > 1e-3 for gradient in gradients)


def test_a_process_without_tokens_takes_part(results):
    entropies, gradients = sums_in_processes.entropies_and_gradients(
        "lfq", sums_in_processes.batch(1)[:5]
    )
    for found in results:
        torch.testing.assert_close(
            found["with an empty batch"], [*entropies, *gradients], rtol=1e-5, atol=1e-6
        )


def test_k_means_moves_the_centres_of_one_process(results):
    inputs = torch.cat([sums_in_processes.batch(rank) for rank in range(2)])
    for found in results:
        torch.testing.assert_close(found["lloyd"], [lloyd(inputs, inputs[:4], 3)])


def test_a_codebook_started_by_k_means_is_the_same_in_all_processes(results):
    assert torch.equal(results[0]["vq"][0], results[1]["vq"][0])
    assert results[0]["vq"][0].unique(dim=0).shape == (7, 3)


def test_eval_waits_for_no_other_process(results):
    alone = (
        build("lfq", latent_channels=sums_in_processes.WIDTH)
        .eval()(sums_in_processes.batch(0))
        .losses
    )
    torch.testing.assert_close(results[0]["eval"], list(alone.values()))


def test_in_one_process_a_sum_is_its_own_value():
    value = torch.ones(3)
    assert not is_distributed()
    assert sum_over_processes(value) is value


def test_the_sum_leaves_its_argument_alone(monkeypatch):
    monkeypatch.setattr(processes, "is_distributed", lambda: True)
    monkeypatch.setattr(processes.dist, "all_reduce", lambda total: total.mul_(2))
    value = torch.tensor([1.0, 3.0])
    assert sum_over_processes(value).tolist() == [2.0, 6.0]
    assert value.tolist() == [1.0, 3.0]
