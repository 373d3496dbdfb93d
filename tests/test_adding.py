"""One of each kind of thing is added to a copy of Bevel; it works there, and took the files that README.md names.

What is added lies in `tests/adding/<kind>/`, as it would lie in the repository; lines in files that are there already
stand in `ADDITIONS`. A check runs in a process of its own on the copy.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ADDING = ROOT / "tests" / "adding"
ROOMS = ("calib", "backends", "passes", "models", "tools")
NUMBERS = ("one", "two", "three", "four", "five", "six")

MODEL = """
import sys
import numpy as np
import onnx
from bevel import optimize

def product(body, more="", **options):
    text = '<ir_version: 10, opset_import: ["" : 21]> m (float[1,8] x) => (float[1,8] y) {' + body + "}"
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    if "w" in more:
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.standard_normal((8, 8), np.float32), "w"))
    samples = {"x": rng.standard_normal((16, 1, 8)).astype(np.float32)}
    options = {"target": "cortex-m7", **options}
    report = optimize(model, calib=samples, output=sys.argv[1], **options)
    if report.measurement is not None:
        assert report.measurement.mismatches == 0
    return report
"""


@dataclass(frozen=True)
class Addition:
    """check: in Python, run on the copy after MODEL. lines: {file: [(what stands there, what will stand there)]}."""

    check: str
    lines: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


ADDITIONS = {
    "operator": Addition(
        """
report = product('l = LpNormalization <p = 1, axis = -1> (x) y = Abs (l)')
assert "NormalizeL1" in [node.kernel for node in report.nodes], report.nodes
assert report.nodes[0].sqnr_db > 30
""",
        {
            "passes/operators/__init__.py": [
                (
                    "from bevel.passes.operators.norms.reduce_l2 import",
                    "from bevel.passes.operators.norms.normalize_l1 import NormalizeL1\n"
                    "from bevel.passes.operators.norms.reduce_l2 import",
                ),
                ("    Normalize(),\n", "    NormalizeL1(),\n    Normalize(),\n"),
            ]
        },
    ),
    "kernel": Addition(
        """
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.select.specialize import specialize
from bevel.backends.target import load
ports = [Port(name, name, (16,), "int8") for name in ("x", "y")]
call = Call("node", Clip(16, -5, 100), ("x",), (), "y")
program = Program("p", (ports[0],), (ports[1],), {name: Buffer(name, (16,), "int8") for name in "xy"}, (call,))
kernels = {name: type(specialize(program, load(name)).calls[0].kernel).__name__ for name in ("cortex-m7", "rv32imc")}
assert kernels == {"cortex-m7": "ClipDsp", "rv32imc": "Clip"}, kernels
"""
    ),
    "format": Addition(
        """
report = product('y = MatMul (x, w)', "w", weights="quinary", target="host", device="none")
assert report.nodes[0].format == "quinary weights, int8", report.nodes[0]
""",
        {
            "calib/formats/level_format.py": [
                ("TERNARY = ", 'QUINARY = LevelFormat("quinary", (-1.0, -0.5, 0.0, 0.5, 1.0))\nTERNARY = ')
            ],
            "calib/formats/format.py": [("BINARY, TERNARY", "BINARY, QUINARY, TERNARY")],
        },
    ),
    "pass": Addition(
        """
report = product('a = Abs (x) b = Abs (a) y = Neg (b)', target="host", device="none")
assert [note.pass_ for node in report.nodes for note in node.notes].count("drop-second-abs") == 1
""",
        {
            "passes/canonicalize/__init__.py": [
                (
                    "from bevel.passes.canonicalize.evaluate import",
                    "from bevel.passes.canonicalize.drop_second_abs import DropSecondAbs\n"
                    "from bevel.passes.canonicalize.evaluate import",
                ),
                (
                    "        RemoveIdentity(),\n        Merge",
                    "        RemoveIdentity(),\n        DropSecondAbs(),\n        Merge",
                ),
            ]
        },
    ),
    "observation": Addition(
        """
from bevel.calib.data.dataset import random_dataset
from bevel.calib.observe.base import Want
from bevel.calib.observe.observe import model_inputs, observe
from bevel.calib.observe.zeros import Zeros
text = '<ir_version: 10, opset_import: ["" : 21]> m (float[1,800] x) => (float[1,800] y) { y = Relu (x) }'
model = onnx.parser.parse_model(text)
seen = observe(model, random_dataset(model_inputs(model), 4, seed=0), {"y": [Want(Zeros)]})
assert 0.4 < seen["y"].one(Zeros).share < 0.6, seen
"""
    ),
    "rounder": Addition(
        """
report = product('y = MatMul (x, w)', "w", rounding="toward-zero", target="host", device="none")
assert report.nodes[0].rounder == "toward-zero", report.nodes[0]
"""
    ),
    "backend": Addition(
        """
from dataclasses import replace
from pathlib import Path
from bevel.backends import backend
from bevel.backends.build import build
from bevel.backends.devices.find import available
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.target import load
ports = [Port(name, name, (16,), "int8") for name in ("x", "y")]
call = Call("node", Clip(16, -5, 100), ("x",), (), "y")
program = Program("p", (ports[0],), (ports[1],), {name: Buffer(name, (16,), "int8") for name in "xy"}, (call,))
assert "archive" in backend.names()
target = replace(load("cortex-m7"), backend="archive", devices=())
folder = Path(sys.argv[1])
folder.mkdir()
artifact = build(program, target, folder)
assert (artifact.archive, artifact.library, artifact.firmware) == ("libp.a", None, None)
assert (folder / "libp.a").is_file() and available(target) is None
"""
    ),
    "recipe": Addition(
        """
report = product('y = MatMul (x, w)', "w", recipe="percentile", target="host", device="none")
assert report.recipe == "percentile" and report.nodes[0].rounder == "nearest", report
"""
    ),
    "target": Addition(
        """
from bevel.backends import target
assert "half-m7" in target.names()
report = product('y = Abs (x)', target="half-m7", device="none")
assert report.target == "half-m7"
"""
    ),
    "resource": Addition(
        """
from bevel.backends.program.resources import Resources
found = Resources({"uram": 20})
assert [one.told(amount) for one, amount in found.items()] == ["20 large memory blocks"], found
""",
        {
            "backends/program/resources.py": [
                (
                    "    BRAM = ",
                    '    URAM = "uram", COUNT, "large memory blocks", "of programmable logic"\n    BRAM = ',
                )
            ]
        },
    ),
    "option": Addition(
        """
from bevel.tools.command.optimize import command
assert "patience" in {parameter.name for parameter in command.params}
report = product('y = Abs (x)', patience=3, target="host", device="none")
""",
        {
            "tools/run/options.py": [
                (
                    "    seed: int = field(",
                    '    patience: int = field(default=1, metadata=told("How long to wait.", "N", within=COUNT))\n'
                    "    seed: int = field(",
                )
            ]
        },
    ),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Bevel in a folder of its own, importable from `copy/.types`."""
    root = tmp_path / "bevel"
    for room in ROOMS:
        shutil.copytree(ROOT / room, root / room)
    shutil.copytree(ROOT / ".types", root / ".types", symlinks=True)
    return root


def files_of(kind: str) -> dict[str, Path]:
    """{path in the repository: file} of what is added."""
    paths = [path for path in (ADDING / kind).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(ADDING / kind)): path for path in paths}


def add(kind: str, root: Path) -> None:
    for path, file in files_of(kind).items():
        assert not (root / path).exists(), f"{path} is there already"
        (root / path).parent.mkdir(exist_ok=True)
        shutil.copyfile(file, root / path)
    for path, changes in ADDITIONS[kind].lines.items():
        text = (root / path).read_text()
        for before, after in changes:
            assert before in text, f"{path} has no {before!r}"
            text = text.replace(before, after)
        (root / path).write_text(text)


@pytest.mark.long
@pytest.mark.parametrize("kind", ADDITIONS)
def test_it_works_after_these_files_alone_have_changed(kind: str, copy: Path, tmp_path: Path) -> None:
    add(kind, copy)
    environment = os.environ | {"PYTHONPATH": str(copy / ".types"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    words = [sys.executable, "-c", MODEL + ADDITIONS[kind].check, str(tmp_path / "out")]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def told(kind: str) -> tuple[int, list[str]]:
    """How many files README.md says that a kind takes, and which, with placeholders."""
    text = (ROOT / "README.md").read_text()
    listed = text[text.index("\nTo add ") : text.index("\n## Check a change")]
    item = rf"^- \*\*an? {kind}\*\*[^(:]*\((\w+) files?\)(.*?)(?=^- |\Z)"
    found = re.search(item, listed, re.MULTILINE | re.DOTALL)
    assert found is not None, f"README.md does not say how to add: {kind}"
    paths = [path for path in re.findall(r"`([\w./<>-]+\.\w+)`", found[2]) if path.partition("/")[0] in ROOMS]
    return NUMBERS.index(found[1]) + 1, paths


@pytest.mark.parametrize("kind", ADDITIONS)
def test_the_readme_names_the_files_and_counts_them(kind: str) -> None:
    count, paths = told(kind)
    touched = [*files_of(kind), *ADDITIONS[kind].lines]
    patterns = {path: re.sub(r"<\w+>", r"[\\w-]+", path.replace(".", r"\.")) for path in paths}
    for one in touched:
        assert any(re.fullmatch(pattern, one) for pattern in patterns.values()), f"README.md does not name {one}"
    for path, pattern in patterns.items():
        assert any(re.fullmatch(pattern, one) for one in touched), f"{path} of README.md was not needed"
    assert len(touched) == count == len(paths)


def test_the_list_in_the_readme_has_a_test_for_each_kind() -> None:
    text = (ROOT / "README.md").read_text()
    listed = text[text.index("\nTo add ") : text.index("\n## Check a change")]
    assert sorted(re.findall(r"^- \*\*an? (\w+)\*\*", listed, re.MULTILINE)) == sorted(ADDITIONS)
    assert {path.name for path in ADDING.iterdir()} <= set(ADDITIONS)
