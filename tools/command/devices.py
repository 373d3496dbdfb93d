"""Which device measures: the one asked for, or the target's first that works on this machine."""

from __future__ import annotations

from bevel.backends.devices import find
from bevel.backends.devices.base import SERIAL, SSH, Device
from bevel.backends.target import Target
from bevel.calib.errors import UserError

NONE = "none"
BOARDS = {SERIAL: f"{SERIAL}PORT", SSH: f"{SSH}USER@HOST"}
LINUX = "-linux"


def choose(target: Target, wanted: str | None) -> Device | None:
    """The device for `target`; None for "none". Raises UserError with what is missing, and what would enable it."""
    if wanted == NONE:
        return None
    board = BOARDS.get(how) if (how := reached(target)) else None
    if wanted is not None and wanted not in target.devices and not (how and wanted.startswith(how)):
        known = ", ".join([*target.devices, *([board] if board else [])])
        raise UserError(f"no device '{wanted}' for {target.name}; it runs on: {known}, or none")
    found = [find.device(wanted, target)] if wanted else find.devices(target)
    working = next((device for device in found if device.missing() is None), None)
    if working is None:
        reasons = "; ".join(str(device.missing()) for device in found)
        raise UserError(f"nothing here runs {target.name}: {reasons}; or build without measuring: --device none")
    return working


def reached(target: Target) -> str | None:
    """How boards of it are spoken to: the begin of a device's name; None where they are not."""
    if not target.compilers:
        return None
    if target.bare:
        return SERIAL
    return SSH if LINUX in target.triple else None
