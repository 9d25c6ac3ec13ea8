import subprocess
import sys

import bench.metrics


def test_public_names_are_sorted_and_exist():
    assert bench.metrics.__all__ == sorted(bench.metrics.__all__)
    assert all(hasattr(bench.metrics, name) for name in bench.metrics.__all__)


def test_import_loads_no_heavy_library():
    code = (
        "import sys, bench.metrics; "
        "print({'torch_fidelity', 'torchvision', 'skimage', 'scipy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"
