"""Hypothesis draws the same examples in every run and never fails for being slow.

In parallel runs every process has one thread, and so have the processes it starts. They share
bytecode: compiling torch takes a process longer than most tests. If Python must not write bytecode
beside the sources, it goes to the user's cache, so the checkout may be read-only.
"""

import os
import sys
from pathlib import Path

if sys.dont_write_bytecode:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    sys.pycache_prefix = str(cache / "quantizer-zoo" / "bytecode")
    sys.dont_write_bytecode = False
    os.environ |= {"PYTHONPYCACHEPREFIX": sys.pycache_prefix, "PYTHONDONTWRITEBYTECODE": ""}

import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    max_examples=25,
    # fixtures here are built once per test and not changed by an example
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("repeatable")

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture
def register():
    """`@register(REGISTRY, "name")` is `@REGISTRY.register("name")` until the test ends."""
    added = []

    def add(registry, name):
        added.append((registry, name))
        return registry.register(name)

    yield add
    for registry, name in added:
        registry._factories.pop(name, None)
