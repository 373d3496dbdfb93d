"""How many random graphs and mutated files are tried, and from which seed on.

pytest tests/fuzz --graphs 3000 --files 1000
"""

from __future__ import annotations

import pytest

from bevel.tools.command.quiet import quiet_libraries

GRAPHS, FILES = 200, 100
LONG_AFTER = 0.2  # of the tests, while nobody said how many: the others are marked long
VERDICTS = ("built", "refused", "left out")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fuzz")
    group.addoption("--graphs", type=int, help=f"random graphs to try, {GRAPHS} if not given")
    group.addoption("--files", type=int, help=f"mutated files to try, {FILES} if not given")
    group.addoption("--first-seed", type=int, default=0, help="the seed of the first; the next ones follow")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each seed. The options are known only where pytest is given this folder."""
    for name, default in (("graphs", GRAPHS), ("files", FILES)):
        if f"{name}_seed" in metafunc.fixturenames:
            first = metafunc.config.getoption("--first-seed", 0)
            count = metafunc.config.getoption(f"--{name}", None)
            quick = int(LONG_AFTER * default) if count is None else count
            seeds = range(first, first + (default if count is None else count))
            marks = [() if seed < first + quick else (pytest.mark.long,) for seed in seeds]
            metafunc.parametrize(
                f"{name}_seed", [pytest.param(seed, marks=mark) for seed, mark in zip(seeds, marks, strict=True)]
            )


@pytest.fixture(scope="session", autouse=True)
def quiet() -> None:
    quiet_libraries()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Counts of the node tests that ran."""
    reports = [one for found in terminalreporter.stats.values() for one in found if isinstance(one, pytest.TestReport)]
    known = [found for one in reports if one.when == "call" for found in one.user_properties]
    counts = {verdict: sum(count for name, count in known if name == verdict) for verdict in VERDICTS}
    if any(counts.values()):
        built, refused, left_out = counts.values()
        terminalreporter.write_line(
            f"node tests of ONNX: {built} built and right, {refused} refused with the reason; left out {left_out}: "
            "no float32 input, or a function written out"
        )
