"""Targets that this machine can build for and run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bevel.backends.binary.toolchain import for_target
from bevel.backends.devices.base import Device
from bevel.backends.target import Target, load
from bevel.calib.errors import UserError


def runnable(name: str, device: Callable[[Target], Device]) -> Target:
    """The target of that name; a test is skipped, with the reason, where `device` or a compiler for it is missing."""
    target = load(name)
    if why := device(target).missing():
        pytest.skip(why)
    try:
        for_target(target)
    except UserError as error:
        pytest.skip(str(error))
    return target
