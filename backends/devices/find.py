"""The devices of a target, by the names in its file. Modules are imported when a target asks for them."""

from __future__ import annotations

from bevel.backends.devices.base import SERIAL, Device
from bevel.backends.target import Target


def devices(target: Target) -> list[Device]:
    """Every device that the target names, in its order of preference, whether it can run here or not."""
    return [device(name, target) for name in target.devices]


def available(target: Target) -> Device | None:
    """The first device that can run here."""
    return next((device for device in devices(target) if device.missing() is None), None)


def device(name: str, target: Target) -> Device:
    """Raises ValueError for a name that no module here answers to: the target's file is wrong."""
    if name.startswith(SERIAL):
        from bevel.backends.devices.serial import Serial

        return Serial(target, name.removeprefix(SERIAL))
    match name:
        case "host":
            from bevel.backends.devices.host import Host

            return Host(target)
        case "qemu-user":
            from bevel.backends.devices.qemu_user import QemuUser

            return QemuUser(target)
        case "unicorn":
            from bevel.backends.devices.unicorn import Unicorn

            return Unicorn(target)
        case "qemu":
            from bevel.backends.devices.qemu import Qemu

            return Qemu(target)
        case _:
            raise ValueError(f"target {target.name} names the unknown device {name!r}")
