"""Codes that follow latents, in two processes with batches of unequal length."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import quantizers

SCRIPT = Path(__file__).with_name("codes_in_processes.py")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("codes_in_processes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> list[dict[str, Any]]:
    """What each of the two processes saved."""
    folder = tmp_path_factory.mktemp("processes")
    environment = os.environ | {"PYTHONPATH": str(Path(quantizers.__file__).parents[1])}
    processes = [
        subprocess.Popen([sys.executable, SCRIPT, str(rank), folder], env=environment)
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", ["lgq", "mgvq"])
def test_both_processes_end_with_one_state(name, results):
    first, second = (result[name] for result in results)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_the_usage_loss_of_lgq_and_its_averaged_gradient_are_those_of_one_process(results, script):
    with torch.random.fork_rng():
        lgq = script.made("lgq")
    expected = script.usage_and_gradient(lgq, torch.cat([script.batch(rank) for rank in range(2)]))
    for result in results:
        torch.testing.assert_close(result["usage"], expected)


def test_the_codes_of_lgq_are_latents_of_the_first_process(results, script):
    assert results[1]["lgq"]["started"]
    equal = (results[1]["lgq"]["codebook"][:, None] == script.batch(0)).all(dim=2)
    assert equal.any(dim=1).all()


def test_the_usage_of_mgvq_is_that_of_one_process(results, script):
    with torch.random.fork_rng():
        mgvq = script.made("mgvq")
        mgvq(torch.cat([script.batch(rank) for rank in range(2)]))
        mgvq.update()
    for result in results:
        torch.testing.assert_close(result["mgvq"]["usage"], mgvq.usage)
