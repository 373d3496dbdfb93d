"""What plain loops spend on each family of Cortex-M, in instructions.

As `python -m bevel.tools.bench.rates` measured it on a Cortex-M4, a Cortex-M55 and a Cortex-M0+ (arm-none-eabi-gcc
12.2.1; unicorn 2.1.4, QEMU 7.2).
"""

from __future__ import annotations

from bevel.backends.program.op import Op
from bevel.backends.program.ops.add import Add
from bevel.backends.program.ops.average_pool import AveragePool
from bevel.backends.program.ops.coded_conv import CodedConv
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.ops.mat_mul import MatMul
from bevel.backends.program.ops.max_pool import MaxPool
from bevel.backends.program.ops.normalize import Normalize
from bevel.backends.program.ops.power_softmax import PowerSoftmax
from bevel.backends.program.ops.reduce_mean import ReduceMean
from bevel.backends.program.ops.shift_mat_mul import ShiftMatMul
from bevel.backends.program.ops.softmax import Softmax, WideSoftmax
from bevel.backends.program.ops.walsh_hadamard import WalshHadamard
from bevel.backends.program.rates import Rates
from bevel.backends.program.recurrence import Recurrence
from bevel.backends.target import Target
from bevel.backends.tir.rates import Table
from bevel.backends.tir.rules.bitplane_conv import BitplaneConv

THUMB2: Table = {
    Conv: Rates(mac=2.7, output=38, code=1010),
    Gemm: Rates(mac=2.73, output=21, call=560, code=670),
    CodedConv: Rates(mac=2.82, output=35, besides=2.1, code=1020),
    BitplaneConv: Rates(besides=1.03, code=1240),
    MatMul: Rates(mac=3.24, output=12, code=390),
    Add: Rates(input=5.0, besides=14, call=10, code=50),
    AveragePool: Rates(input=4.0, byte=0.8, code=850),
    MaxPool: Rates(input=4.1, code=410),
    ReduceMean: Rates(input=2.77, code=320),
    Normalize: Rates(input=48, code=700),
    Softmax: Rates(input=19.3, code=230),
    WideSoftmax: Rates(input=37, code=420),
    PowerSoftmax: Rates(input=57, code=380),
    ShiftMatMul: Rates(mac=4.53, output=15, code=330),
    WalshHadamard: Rates(mac=5.6, output=21, besides=2.2, code=1090),
    Recurrence: Rates(mac=2.75, output=10, besides=75, code=1250),
    Op: Rates(mac=2.7, input=4.5, code=400),
}
HELIUM: Table = {
    Conv: Rates(mac=2.42, output=41, code=890),
    Gemm: Rates(mac=2.5, output=22, call=380, code=570),
    CodedConv: Rates(mac=2.41, output=40, besides=1.96, code=1560),
    BitplaneConv: THUMB2[BitplaneConv],  # no rule has it there
    MatMul: Rates(mac=3.0, output=9.5, code=390),
    Add: Rates(input=4.5, besides=15, call=12, code=50),
    AveragePool: Rates(input=3.73, byte=2.7, code=740),
    MaxPool: Rates(call=950, code=260),  # gcc makes vectors of it
    ReduceMean: Rates(input=2.65, code=320),
    Normalize: Rates(input=47, code=700),
    Softmax: Rates(input=19.4, code=260),
    WideSoftmax: Rates(input=36, code=420),
    PowerSoftmax: Rates(input=53, code=550),
    ShiftMatMul: Rates(mac=4.53, output=16, code=370),
    WalshHadamard: Rates(mac=6.54, output=22.8, besides=0.236, code=2517),
    Recurrence: Rates(mac=2.8, output=30, besides=73, code=1350),
    Op: Rates(mac=2.7, input=4.5, code=400),
}
THUMB: Table = {
    Conv: Rates(mac=5.0, output=115, code=1260),
    Gemm: Rates(mac=5.3, output=10.5, byte=0.85, code=900),
    CodedConv: Rates(mac=5.28, output=131, besides=4.3, code=1320),
    BitplaneConv: Rates(besides=2.0, code=1270),
    MatMul: Rates(mac=7.5, output=36, code=460),
    Add: Rates(input=6.5, call=11, code=40),
    AveragePool: Rates(input=9.8, code=1120),
    MaxPool: Rates(input=7.2, code=640),
    ReduceMean: Rates(input=4.34, code=440),
    Normalize: Rates(input=218, code=620),
    Softmax: Rates(input=48, code=260),
    WideSoftmax: Rates(input=111, code=300),
    PowerSoftmax: Rates(input=90, code=470),
    ShiftMatMul: Rates(mac=6.24, output=18, code=390),
    WalshHadamard: Rates(mac=11.1, output=27.7, besides=2.84, code=1220),
    Recurrence: Rates(mac=6.5, besides=225, code=1600),
    Op: Rates(mac=5.0, input=7.0, code=700),
}


def of_core(target: Target) -> Table:
    """For the target's family."""
    if "dsp" not in target.abilities:
        return THUMB
    return HELIUM if "mve" in target.abilities else THUMB2
