"""Machines that take the model's static library and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from bevel.backends.backend import Begin, Linked, Product
from bevel.backends.devices.base import Device
from bevel.backends.program.op import Op
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.base import TirBackend
from bevel.backends.tir.rates import Table


@dataclass(frozen=True)
class Archive(TirBackend):
    def rates(self, target: Target) -> Table:
        return {Op: Rates(mac=3.0, input=5.0)}

    def link(self, product: Product, begin: Begin) -> Linked:
        return Linked(product.sizes)

    def device(self, name: str, target: Target) -> Device | None:
        return None


BACKEND = Archive()
