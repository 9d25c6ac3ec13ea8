"""Plants one-line faults in copies of `quantizers` and reports those that no default test notices.

    python tests/quantizers/mutations.py                     # all faults
    python tests/quantizers/mutations.py fsq lfq             # faults in these files
    python tests/quantizers/mutations.py --record fsq lfq    # also record which tests notice them

Each line of `mutations.txt` is a fault: the file's stem, the text to replace, its replacement and
the test that notices it, which `--record` writes. That test runs first. If there is none, or it
passes, all tests of the file run, then the laws. The exit code is 1 if a fault survives, if a text
does not occur exactly once in its file, or if such a test also fails without a fault.
"""

import contextlib
import gc
import itertools
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis  # noqa: F401 - imported once here, so no fork has to import it
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
TESTS = "tests/quantizers/"
FAULTS = Path(__file__).with_suffix(".txt")
LAWS = tuple(f"contract/test_{name}.py" for name in ("contract", "estimators", "options", "state"))
OWN_TESTS = {
    "base": ("contract/test_registry.py", "contract/test_finite_checks.py", *LAWS),
    "parts/bits": ("test_lfq.py", "test_bsq.py", "test_grouped_lfq.py"),
    "parts/groups": ("test_product_vq.py", "test_mgvq.py"),
    "fsq": ("test_fsq.py", "test_fsq_symmetric.py", "contract/test_relations.py"),
    "gsq": (
        "test_gsq.py",
        "test_gsq_codebook.py",
        "test_gsq_entropy.py",
        "processes/test_processes.py",
    ),
    "parts/kmeans": ("parts/test_kmeans.py", "processes/test_processes.py"),
    "lfq": ("test_lfq.py", "processes/test_processes.py"),
    "parts/losses": ("parts/test_losses.py",),
    "nearest/search": ("nearest/test_search.py", "nearest/test_search_errors.py"),
    "nearest/two_passes": ("nearest/test_two_passes.py", "nearest/test_search.py"),
    "nearest/chunks": (
        *(
            "nearest/test_two_passes.py",
            "nearest/test_loops_numba.py",
            "nearest/test_tree_numba.py",
        ),
        "nearest/test_search.py",
    ),
    "nearest/rounding": (
        "nearest/test_two_passes.py",
        "nearest/test_loops_numba.py",
        "nearest/test_search.py",
    ),
    "nearest/accelerator": ("nearest/test_accelerator.py",),
    "nearest/loops": ("nearest/test_loops_numba.py",),
    "nearest/loops_numba": (
        "nearest/test_loops_numba.py",
        "nearest/test_two_passes.py",
        "nearest/test_search.py",
    ),
    "nearest/tree_numba": ("nearest/test_tree_numba.py",),
    "nearest/line_and_circle": ("nearest/test_line_and_circle.py", "nearest/test_search.py"),
    "none": LAWS,
    "nearest/lanes_numba": ("nearest/test_lanes_numba.py",),
    "nearest/threads_numba": ("nearest/test_loops_numba.py",),
    "parts/once": ("test_vq.py", "test_lgq.py"),
    "parts/pending": ("test_ema_vq.py", "test_mgvq.py"),
    "registry": ("test_registry.py", "contract/test_registry.py"),
    "parts/stages": ("test_residual_gsq.py", "test_rvq.py"),
    "parts/processes": ("processes/test_processes.py", "test_lgq.py", "parts/test_entropy.py"),
}
MEMORY_BYTES = 8 << 30  # a fault may allocate without bound
TIMEOUT_SECONDS = 600  # or run forever
PYTEST = ("-x", "-q", "-p", "no:cacheprovider", "--disable-plugin-autoload")
_OPTIONS = "addopts=--import-mode=importlib --strict-markers"  # those of pyproject.toml but xdist
_DEFAULT = ("-m", "not (slow or gpu or oracle or compile)")
# Run-time shape checks take longer than the tests, so they come last.
UNCHECKED = ("-o", _OPTIONS, *_DEFAULT)
CHECKED = (
    *("-o", f"{_OPTIONS} --jaxtyping-packages=quantizers,beartype.beartype", *_DEFAULT),
    *("-p", "jaxtyping"),
)


class Mutation(NamedTuple):
    """One fault: in `quantizers/<stem>.py`, `text` becomes `replacement`."""

    stem: str
    text: str
    replacement: str
    noticed_by: str = ""

    @property
    def own_tests(self) -> tuple[str, ...]:
        folder, slash, name = self.stem.rpartition("/")
        own = f"{folder}{slash}test_{name}.py"
        return OWN_TESTS.get(self.stem, (own, "contract/test_relations.py"))

    def occurrences(self, package: Path) -> int:
        """How often the text to replace occurs in its file."""
        return (package / f"{self.stem}.py").read_text().count(self.text)

    def plant(self, package: Path) -> None:
        path = package / f"{self.stem}.py"
        path.write_text(path.read_text().replace(self.text, self.replacement))


class FirstFailure:
    """Runs the examples of one method before those of others; keeps the first test that fails."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.name = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: f"{self.method}(" not in item.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.pytest_runtest_logreport(report)

    def pytest_runtest_logreport(self, report: pytest.CollectReport | pytest.TestReport) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid.partition("[")[0].removeprefix(TESTS)


def first_failure(names: tuple[str, ...], mutation: Mutation | None, *options: str) -> str:
    """The first test that fails on a copy of `quantizers` with the fault, or an empty string."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "quantizers"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "quantizers", package, ignore=ignored)
        if mutation:
            mutation.plant(package)
        sys.path.insert(0, folder)  # before the installed `quantizers`
        failure = FirstFailure(mutation.stem if mutation else "")
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            arguments = [*PYTEST, *options, *(TESTS + name for name in names)]
            code = pytest.main(arguments, plugins=[failure])
        origin = getattr(sys.modules.get("quantizers"), "__file__", package / "__init__.py")
    if code == pytest.ExitCode.INTERNAL_ERROR or package not in Path(origin).parents:
        raise RuntimeError(f"pytest ended with {code}, on {origin} for {package}, with {mutation}")
    return failure.name  # also empty if a test of this name no longer exists


def first_failure_in_a_fork(names: tuple[str, ...], *run: Any) -> str:
    """Like `first_failure`, in its own process; a crash or a timeout counts as a failing file."""
    with tempfile.NamedTemporaryFile("r") as file:

        def write() -> None:
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
            Path(file.name).write_text(first_failure(names, *run))

        process = multiprocessing.get_context("fork").Process(target=write)
        process.start()
        process.join(TIMEOUT_SECONDS)
        if process.exitcode == 1:
            raise RuntimeError(f"no result for {run}: see the traceback above")
        if process.exitcode == 0:
            return file.read()
        process.kill()
        process.join()
        return names[0]


def notice(mutation: Mutation) -> str:
    """The test that notices a fault, or an empty string."""
    named = [(mutation.noticed_by,)] if mutation.noticed_by else []
    for names in (*named, mutation.own_tests, LAWS):
        for options in (UNCHECKED, CHECKED):
            if failure := first_failure_in_a_fork(names, mutation, *options):
                return failure
    return ""


def fails_without_fault(tests: tuple[str, ...]) -> str:
    """The first of these tests that also fails without a fault, or an empty string.

    It runs twice, because a failure was once seen that did not repeat.
    """
    failure = first_failure_in_a_fork(tests, None, *UNCHECKED)
    return failure and first_failure_in_a_fork(tests, None, *UNCHECKED)


def warm_up(bytecode: str) -> None:
    """Does once in this process what each fork would otherwise repeat."""
    sys.dont_write_bytecode, sys.pycache_prefix = False, bytecode  # compile tests once
    torch.testing.assert_close(torch.zeros(1), torch.zeros(1))  # imports half a second of modules
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        pytest.main(["--version", "--version", *PYTEST, *UNCHECKED])
    gc.collect()
    gc.freeze()  # pytest collects garbage at its end


def read_mutations(stems: list[str]) -> list[Mutation]:
    """The faults of these files, or of all files."""
    lines = FAULTS.read_text().splitlines()
    cells = [line.split(" | ") for line in lines if line and not line.startswith("#")]
    mutations = [Mutation(*map(str.strip, row)) for row in cells]
    return [mutation for mutation in mutations if not stems or mutation.stem in stems]


def record(noticed: dict[Mutation, str]) -> None:
    """Writes the names of tests into the list, which may have grown meanwhile."""
    text = FAULTS.read_text()
    for mutation, name in noticed.items():
        if name and name != mutation.noticed_by:
            row = " | ".join(filter(None, mutation))
            new = " | ".join((*mutation[:3], name))
            text = f"\n{text}".replace(f"\n{row}\n", f"\n{new}\n").removeprefix("\n")
    FAULTS.write_text(text)


def main(arguments: list[str]) -> int:
    """Prints a line for each surviving fault; returns the exit code."""
    mutations = read_mutations([stem for stem in arguments if stem != "--record"])
    misfits = [m for m in mutations if m.occurrences(ROOT / "quantizers") != 1]
    mutations = [mutation for mutation in mutations if mutation not in misfits]
    with ThreadPool(2) as pool:
        noticed = dict(zip(mutations, pool.map(notice, mutations, chunksize=1), strict=True))
        tests = sorted(set(noticed.values()) - {""})
        files = [tuple(names) for _, names in itertools.groupby(tests, lambda t: t.split("::")[0])]
        failing = list(filter(None, pool.map(fails_without_fault, files, chunksize=1)))
    if "--record" in arguments and not failing:
        record(noticed)
    survivors = [mutation for mutation, name in noticed.items() if not name]
    for name in failing:
        print(f"ALSO FAILS WITHOUT A FAULT {name}")
    for mutation in misfits:
        print(f"NOT EXACTLY ONCE IN ITS FILE {mutation.stem}: {mutation.text}")
    for mutation in survivors:
        print(f"SURVIVED {mutation.stem}: {mutation.text} -> {mutation.replacement}")
    print(f"{len(noticed) - len(survivors)} of {len(noticed)} faults caught")
    return int(bool(survivors or misfits or failing))


if __name__ == "__main__":
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as bytecode:
        warm_up(bytecode)
        sys.exit(main(sys.argv[1:]))
