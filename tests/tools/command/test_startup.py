"""Asking for help loads nothing heavy. What is loaded is asserted, not how long it took."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
