"""RISC-V microcontrollers: plain loops in C, and firmware."""

from __future__ import annotations

from dataclasses import dataclass

from bevel.backends.firmware.bare import Bare
from bevel.backends.program.op import Op
from bevel.backends.program.ops.add import Add
from bevel.backends.program.ops.average_pool import AveragePool
from bevel.backends.program.ops.coded_conv import CodedConv
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.ops.mat_mul import MatMul
from bevel.backends.program.ops.max_pool import MaxPool
from bevel.backends.program.ops.normalize import Normalize
from bevel.backends.program.ops.reduce_mean import ReduceMean
from bevel.backends.program.ops.softmax import Softmax, WideSoftmax
from bevel.backends.program.ops.walsh_hadamard import WalshHadamard
from bevel.backends.program.rates import Rates
from bevel.backends.program.recurrence import Recurrence
from bevel.backends.target import Target
from bevel.backends.tir.rates import Table
from bevel.backends.tir.rules.bitplane_conv import BitplaneConv

# Instructions, as `python -m bevel.tools.bench.rates --target rv32imc` measured them (zig 0.17.1, unicorn 2.1.4).
RATES: Table = {
    Conv: Rates(mac=3.97, output=35, code=1210),
    Gemm: Rates(mac=3.98, output=20.5, call=750, code=730),
    CodedConv: Rates(mac=4.15, output=31, besides=2.3, code=1230),
    BitplaneConv: Rates(besides=1.1, code=1340),
    MatMul: Rates(mac=4.27, output=8.5, code=550),
    Add: Rates(input=7.0, code=50),
    AveragePool: Rates(input=3.95, byte=0.9, code=880),
    MaxPool: Rates(input=3.7, code=590),
    ReduceMean: Rates(input=2.83, code=230),
    Normalize: Rates(input=50, code=650),
    Softmax: Rates(input=18.7, code=290),
    WideSoftmax: Rates(input=48, code=300),
    WalshHadamard: Rates(mac=7.5, output=22, besides=2.2, code=1310),
    Recurrence: Rates(mac=4.0, output=2, besides=83, code=1470),
    Op: Rates(mac=4.0, input=5.0, code=600),
}


@dataclass(frozen=True)
class Riscv(Bare):
    def rates(self, target: Target) -> Table:
        return RATES


BACKEND = Riscv()
