"""Asking for help loads nothing heavy. What is loaded is asserted, not how long it took."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HEAVY = ("numpy", "onnx", "onnxruntime", "onnx_graphsurgeon", "tvm", "rich", "scipy", "unicorn", "ml_dtypes")

PROGRAM = """
import sys
from bevel.tools.command.{module} import main
assert main({arguments!r}) == 0
print(*[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("optimize", ["--help"]),
        ("cli", ["--help"]),
        ("cli", ["optimize", "--help"]),
        ("cli", ["inspect", "-h"]),
        ("cli", ["--version"]),
    ],
)
def test_help_imports_nothing_heavy(module: str, arguments: list[str]) -> None:
    program = PROGRAM.format(module=module, arguments=arguments, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() and done.stderr.strip() == ""


def test_a_run_without_a_search_loads_no_solver() -> None:
    program = "import sys, bevel.tools.compile; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.long
def test_a_build_whose_kernels_are_in_the_cache_loads_no_tvm(tmp_path: Path) -> None:
    """The first run fills the cache, if no other has; inspect reads the second one's bundle."""
    arguments = ["models/mlp.onnx", "--target", "cortex-m7", "--calib", "models/digits_calib.npz", "-q"]
    for place in ("first", "second"):
        program = PROGRAM.format(module="optimize", arguments=[*arguments, "-o", str(tmp_path / place)], heavy=["tvm"])
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr.split() == []
    program = PROGRAM.format(module="cli", arguments=["inspect", str(tmp_path / "second")], heavy=["tvm"])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout and done.stderr.split() == []
