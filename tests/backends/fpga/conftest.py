"""The simulator, where it is installed."""

import pytest

from bevel.backends.fpga.simulation import verilator
from bevel.backends.fpga.simulation.verilator import Verilator


@pytest.fixture(scope="session")
def tool() -> Verilator:
    found = verilator.found()
    if found is None:
        pytest.skip("Verilator, make and g++ are not all installed: apt install verilator g++ make")
    return found
