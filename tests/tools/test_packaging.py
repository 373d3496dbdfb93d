"""The wheel holds every file of the layers that git holds."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).parents[2]
LAYERS = ("calib", "backends", "passes", "models", "tools")


def tracked() -> set[str]:
    """Files of the layers in git's index that are still on disk."""
    done = subprocess.run(["git", "ls-files", *LAYERS], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout: nothing to compare the package with")
    return {name for name in done.stdout.splitlines() if (ROOT / name).exists()}


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What setup.py tells setuptools."""
    told: dict[str, list[str]] = {}
    monkeypatch.setattr(setuptools, "setup", told.update)
    runpy.run_path(str(ROOT / "setup.py"))
    return set(told["packages"])


def test_every_tracked_file_is_in_a_package_and_of_a_kind_that_is_packed(packages: set[str]) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    kinds = [*settings["tool"]["setuptools"]["package-data"]["*"], "*.py"]
    for name in tracked():
        path = Path(name)
        assert ".".join(("bevel", *path.parent.parts)) in packages, f"{name} is in no package"
        assert any(fnmatch(path.name, kind) for kind in kinds), f"{name} is of no kind listed in package-data"


def test_the_package_says_its_version(packages: set[str]) -> None:
    program = "import bevel; print(bevel.__version__, hasattr(bevel, 'version'))"
    environment = os.environ | {"PYTHONPATH": str(ROOT / ".types")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert "bevel" in packages and done.stdout.split() == [metadata.version("bevel"), "False"], done.stderr


def test_no_cache_is_packed(packages: set[str]) -> None:
    assert not [name for name in packages if "__pycache__" in name]
