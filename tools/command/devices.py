"""Which device measures: the one asked for, or the target's first that works on this machine."""

from __future__ import annotations

from bevel.backends.devices import find
from bevel.backends.devices.base import RPC, SERIAL, SSH, Device
from bevel.backends.target import Target
from bevel.calib.errors import UserError

NONE = "none"
PORTS = {SERIAL: f"{SERIAL}PORT"}
HOSTS = {SSH: f"{SSH}USER@HOST", RPC: f"{RPC}TRACKER:PORT/KEY"}
LINUX = "-linux"


def choose(target: Target, wanted: str | None) -> Device | None:
    """The device for `target`; None for "none". Raises UserError with what is missing, and what would enable it."""
    if wanted == NONE:
        return None
    boards = reached(target)
    if wanted is not None and wanted not in target.devices and not wanted.startswith(tuple(boards)):
        known = ", ".join([*target.devices, *boards.values()])
        raise UserError(f"no device '{wanted}' for {target.name}; it runs on: {known}, or none")
    found = [find.device(wanted, target)] if wanted else find.devices(target)
    working = next((device for device in found if device.missing() is None), None)
    if working is None:
        reasons = "; ".join(str(device.missing()) for device in found)
        raise UserError(f"nothing here runs {target.name}: {reasons}; or build without measuring: --device none")
    return working


def reached(target: Target) -> dict[str, str]:
    """How boards of it are spoken to: {the begin of a device's name: how to write the whole of it}."""
    if not target.compilers:
        return {}
    if target.bare:
        return PORTS
    return HOSTS if LINUX in target.triple else {}
