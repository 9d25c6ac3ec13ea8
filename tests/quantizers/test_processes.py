"""Two processes with batches of unequal length equal one process with both."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

import quantizers
from quantizers import build, processes
from quantizers.kmeans import lloyd
from quantizers.processes import is_distributed, sum_over_processes

SCRIPT = Path(__file__).with_name("sums_in_processes.py")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sums_in_processes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> list[dict[str, list[Tensor]]]:
    """What each of the two processes saved."""
    folder = tmp_path_factory.mktemp("processes")
    environment = os.environ | {"PYTHONPATH": str(Path(quantizers.__file__).parents[1])}
    processes = [
        subprocess.Popen([sys.executable, SCRIPT, str(rank), folder], env=environment)
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", ["lfq", "bsq", "grouped_lfq", "fsq", "ibq"])
def test_entropies_and_averaged_gradients_are_those_of_one_process(name, results, script):
    inputs = torch.cat([script.batch(rank) for rank in range(2)])
    entropies, gradients = script.entropies_and_gradients(name, inputs)
    for found in results:
        torch.testing.assert_close(found[name], [*entropies, *gradients], rtol=1e-5, atol=1e-6)
    assert any(gradient.abs().max() > 1e-3 for gradient in gradients)


def test_a_process_without_tokens_takes_part(results, script):
    entropies, gradients = script.entropies_and_gradients("lfq", script.batch(1)[:5])
    for found in results:
        torch.testing.assert_close(
            found["with an empty batch"], [*entropies, *gradients], rtol=1e-5, atol=1e-6
        )


def test_k_means_moves_the_centres_of_one_process(results, script):
    inputs = torch.cat([script.batch(rank) for rank in range(2)])
    for found in results:
        torch.testing.assert_close(found["lloyd"], [lloyd(inputs, inputs[:4], 3)])


def test_a_codebook_started_by_k_means_is_the_same_in_all_processes(results):
    assert torch.equal(results[0]["vq"][0], results[1]["vq"][0])
    assert results[0]["vq"][0].unique(dim=0).shape == (7, 3)


def test_eval_waits_for_no_other_process(results, script):
    alone = build("lfq", latent_channels=script.WIDTH).eval()(script.batch(0)).losses
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
