"""Boards by the begin of a device's name: what reaches them."""

from __future__ import annotations

from bevel.backends.devices.base import RPC, SSH
from bevel.backends.devices.boards import Boards, Measured
from bevel.backends.devices.rpc import Rpc
from bevel.backends.devices.ssh import Ssh
from bevel.backends.target import Target


def reached(name: str, target: Target, measured: Measured) -> Boards | None:
    """None for a name that is none of a board's. `measured`: how this kind of target is measured in some place."""
    if name.startswith(SSH):
        return Ssh(target, name.removeprefix(SSH), measured)
    if name.startswith(RPC):
        return Rpc(target, name.removeprefix(RPC), measured)
    return None
