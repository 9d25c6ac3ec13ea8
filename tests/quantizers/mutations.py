"""Plants one-line faults in copies of `quantizers` and reports those that no default test notices.

    python tests/quantizers/mutations.py            # all
    python tests/quantizers/mutations.py fsq lfq    # those of some files

Each line of `mutations.txt` is a fault: the file's stem, the text to replace, its replacement. The
process exits with 1 if a fault survives, if a text no longer occurs exactly once in its file, or
if the tests fail without a fault.
"""

import contextlib
import itertools
import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
import torch  # noqa: F401 - imported once here, so that no copy waits for it

ROOT = Path(__file__).resolve().parents[2]
LAWS = ("test_contract.py", "test_contract_state.py")
OWN_TESTS = {
    "base": ("test_registry.py", *LAWS),
    "gsq": ("test_gsq.py", "test_gsq_codebook.py"),
    "losses": ("test_vq.py", "test_gsq.py"),
    "none": LAWS,
}
# As in pyproject.toml, but without the run-time shape checks: they cost more than the tests.
UNCHECKED = (
    *("-o", "addopts=--import-mode=importlib --strict-markers"),
    *("-m", "not (slow or gpu or oracle or compile)"),
)


class Mutation(NamedTuple):
    """One fault: in `quantizers/<stem>.py`, `text` becomes `replacement`."""

    stem: str
    text: str
    replacement: str

    def plant(self, tree: Path) -> None:
        path = tree / "quantizers" / f"{self.stem}.py"
        source = path.read_text()
        if source.count(self.text) != 1:
            raise ValueError(f"{self}: found {source.count(self.text)} times, expected once")
        path.write_text(source.replace(self.text, self.replacement))


def read_mutations(stems: list[str]) -> list[Mutation]:
    """The faults of some files, or of all."""
    lines = Path(__file__).with_suffix(".txt").read_text().splitlines()
    cells = [line.split(" | ") for line in lines if line and not line.startswith("#")]
    mutations = [Mutation(*map(str.strip, row)) for row in cells]
    return [mutation for mutation in mutations if not stems or mutation.stem in stems]


def own_tests_pass(mutation: Mutation, *options: str) -> bool:
    """Whether a fault goes unnoticed by the tests of its own file."""
    names = OWN_TESTS.get(mutation.stem, (f"test_{mutation.stem}.py",))
    return tests_pass(names, mutation, *options)


def unchecked_own_tests_pass(mutation: Mutation) -> bool:
    """The same without the shape checks: quick, and enough for most faults."""
    return own_tests_pass(mutation, *UNCHECKED)


def laws_pass(mutation: Mutation) -> bool:
    """Whether a fault goes unnoticed by the laws of the contract."""
    return tests_pass(LAWS, mutation)


def tests_pass(names: tuple[str, ...], mutation: Mutation | None, *options: str) -> bool:
    """Runs test files in a copy of the tree with the fault planted in it."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "quantizers", tree / "quantizers", ignore=ignored)
        shutil.copytree(
            ROOT / "tests" / "quantizers", tree / "tests" / "quantizers", ignore=ignored
        )
        for name in ("pyproject.toml", "tests/conftest.py"):
            shutil.copy(ROOT / name, tree / name)
        if mutation:
            mutation.plant(tree)
        os.chdir(tree)
        sys.path.insert(0, folder)  # before the place where `quantizers` is installed
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            files = [f"tests/quantizers/{name}" for name in names]
            arguments = ["-x", "-q", "-p", "no:cacheprovider", f"--rootdir={folder}"]
            code = pytest.main([*arguments, *options, *files])
        origin = Path(sys.modules["quantizers"].__file__ or "")
        os.chdir(ROOT)
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
        raise RuntimeError(f"pytest ended with {code} for {mutation}")
    if tree not in origin.parents:
        raise RuntimeError(f"the tests ran on {origin}, not on the copy in {tree}")
    return code == pytest.ExitCode.OK


def main(stems: list[str]) -> int:
    """Prints a line for each surviving fault and returns the exit code."""
    mutations = survivors = read_mutations(stems)
    # a fresh fork for each fault: torch is imported once, `quantizers` every time anew
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        if not pool.apply(tests_pass, ((".",), None)):
            print("the tests fail without any fault: run pytest tests/quantizers")
            return 1
        for passes in (unchecked_own_tests_pass, own_tests_pass, laws_pass):
            unnoticed = pool.map(passes, survivors, chunksize=1)
            survivors = list(itertools.compress(survivors, unnoticed))
    for mutation in survivors:
        print(f"SURVIVED {mutation.stem}: {mutation.text} -> {mutation.replacement}")
    print(f"{len(mutations) - len(survivors)} of {len(mutations)} faults caught")
    return int(bool(survivors))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
