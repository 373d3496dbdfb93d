"""Which device measures: the one asked for, or the target's first that works on this machine."""

from __future__ import annotations

from bevel.backends.devices import find
from bevel.backends.devices.base import SERIAL, Device
from bevel.backends.target import Target
from bevel.calib.errors import UserError

NONE = "none"
BOARD = f"{SERIAL}PORT"


def choose(target: Target, wanted: str | None) -> Device | None:
    """The device for `target`; None for "none". Raises UserError with what is missing, and what would enable it."""
    if wanted == NONE:
        return None
    if wanted is not None and wanted not in target.devices and not (boards(target) and wanted.startswith(SERIAL)):
        known = ", ".join([*target.devices, *([BOARD] if boards(target) else [])])
        raise UserError(f"no device '{wanted}' for {target.name}; it runs on: {known}, or none")
    found = [find.device(wanted, target)] if wanted else find.devices(target)
    working = next((device for device in found if device.missing() is None), None)
    if working is None:
        reasons = "; ".join(str(device.missing()) for device in found)
        raise UserError(f"nothing here runs {target.name}: {reasons}; or build without measuring: --device none")
    return working


def boards(target: Target) -> bool:
    """Whether firmware runs on boards of it."""
    return target.bare and bool(target.compilers)
