"""An OpenCL device for tests, and how many cases they run on it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bevel.backends.binary.toolchain import for_target
from bevel.backends.devices.opencl import LIBRARY, SYSTEM, OpenCl, environment
from bevel.backends.target import Target, load


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gpu")
    group.addoption("--every-case", action="store_true", help="all cases of all operators, in place of one of each")


@pytest.fixture(scope="session")
def target() -> Target:
    found = load("opencl")
    if why := OpenCl(found).missing():
        pytest.skip(why)
    return found


@pytest.fixture(scope="session")
def counting(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the environment says for a driver's library that counts what it is told."""
    place, toolchain = tmp_path_factory.mktemp("count"), for_target(load("host"))
    shutil.copyfile(Path(__file__).parent / "count_opencl.c", place / "count.c")
    toolchain.link([toolchain.compile("count.c", place)], "libcount.so", place, ("-shared", "-ldl"))
    real = environment().get(LIBRARY, SYSTEM)
    return environment() | {LIBRARY: str(place / "libcount.so"), "COUNT_OPENCL_OF": real}
