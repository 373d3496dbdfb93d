"""An OpenCL device for tests, and how many cases they run on it."""

from __future__ import annotations

import pytest

from bevel.backends.devices.opencl import OpenCl
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
