"""Property tests draw the same examples on every machine and every run, and each run of a pass is checked.

With several workers (`-n 2`) the tests of a file run in one of them, so that what they share is made once. Tests marked
`long` run last, each where there is room, and only as long as there is time: `pytest --minutes 8` skips those that
would start later than 8 minutes after the first test, and says how many.
"""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import settings

from bevel.passes.base import CHECKS

os.environ[CHECKS] = "1"  # every pass: its conditions, and whether `modified` is true

settings.register_profile("seeded", derandomize=True, deadline=None)
settings.load_profile("seeded")

FIRST = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--minutes", type=float, help="tests marked long start no later than that after the first test")


@pytest.hookimpl(tryfirst=True)  # xdist looks at the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=is_long)
    for item in items:
        if not is_long(item):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    config.stash[FIRST] = time.monotonic()


def is_long(item: pytest.Item) -> bool:
    return item.get_closest_marker("long") is not None


@pytest.hookimpl(tryfirst=True)  # before the fixtures of a long test
def pytest_runtest_setup(item: pytest.Item) -> None:
    minutes = item.config.getoption("--minutes")
    if minutes is not None and is_long(item) and time.monotonic() - item.config.stash[FIRST] > 60 * minutes:
        pytest.skip(f"long, and {minutes:g} minutes are over: pytest -m long")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test under the name by which it is run again: xdist puts its group behind it."""
    name, _, group = report.nodeid.rpartition("@")
    if group and name.startswith(f"{group}::"):
        report.nodeid = name
