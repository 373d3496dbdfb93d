"""Property tests draw the same examples on every machine and every run, and each run of a pass is checked.

With several workers (`-n 2`) the tests of a file run in one of them, so that what they share is made once. Tests marked
`long` run last, each where there is room, and only as long as there is time: `pytest --minutes 12` skips those that
would start later than 12 minutes after the first test, and says how many.
"""

from __future__ import annotations

import gc
import os
import time
from functools import cached_property
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from bevel.passes.base import CHECKS

gc.set_threshold(20_000, 20, 20)  # as commands do: most objects stay
os.environ[CHECKS] = "1"  # every pass: its conditions, and whether `modified` is true

settings.register_profile("seeded", derandomize=True, deadline=None)
settings.load_profile("seeded")

FIRST = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--minutes", type=float, help="tests marked long start no later than that after the first test")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=is_long)
    config.stash[FIRST] = time.monotonic()


def pytest_collection_finish() -> None:
    """All that is there now stays: the collector need not walk it again and again."""
    gc.collect()
    gc.freeze()


def is_long(item: pytest.Item) -> bool:
    return item.get_closest_marker("long") is not None


@pytest.hookimpl(tryfirst=True)  # before the fixtures of a long test
def pytest_runtest_setup(item: pytest.Item) -> None:
    minutes = item.config.getoption("--minutes")
    if minutes is not None and is_long(item) and time.monotonic() - item.config.stash[FIRST] > 60 * minutes:
        pytest.skip(f"long, and {minutes:g} minutes are over: pytest -m long")


class FileByFile(LoadScopeScheduling):
    """Gives a worker all tests of a file; long ones, which come behind all files, one by one."""

    @cached_property
    def scopes(self) -> dict[str, str]:
        """By test: its file, or itself where its file was there already and others have come since."""
        files = [name.partition("::")[0] for name in self.collection or ()]
        begun = [True, *(one != before for before, one in pairwise(files))]
        found: dict[str, str] = {}
        seen: set[str] = set()
        again = False
        for name, file, first in zip(self.collection or (), files, begun, strict=False):
            again = file in seen if first else again
            seen.add(file)
            found[name] = name if again else file
        return found

    def _split_scope(self, nodeid: str) -> str:
        return self.scopes[nodeid]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FileByFile:
    return FileByFile(config, log)
