"""The devices of a target, by the names in its file."""

from __future__ import annotations

from bevel.backends.backend import backend_of
from bevel.backends.devices.base import Device
from bevel.backends.target import Target


def devices(target: Target) -> list[Device]:
    """Every device that the target names, in its order of preference, whether it can run here or not."""
    return [device(name, target) for name in target.devices]


def available(target: Target) -> Device | None:
    """The first device that can run here."""
    return next((device for device in devices(target) if device.missing() is None), None)


def device(name: str, target: Target) -> Device:
    """Raises ValueError for a name that nothing answers to: the target's file is wrong."""
    found = backend_of(target).device(name, target)
    if found is None:
        raise ValueError(f"target {target.name} names the unknown device {name!r}")
    return found
