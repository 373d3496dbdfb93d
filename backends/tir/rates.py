"""What plain loops spend on each family of machines, and what any call is estimated to spend.

Measured by `python -m bevel.tools.bench.rates` on a Cortex-M4, a Cortex-M55, a Cortex-M0+ (arm-none-eabi-gcc 12.2.1;
unicorn 2.1.4, QEMU 7.2) and an x86-64 with AVX2. RISC-V is taken to be like the third, 64-bit Arm like the fourth: none
of theirs was measured.
"""

from __future__ import annotations

from collections.abc import Mapping

from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Op
from bevel.backends.program.ops.add import Add
from bevel.backends.program.ops.average_pool import AveragePool
from bevel.backends.program.ops.coded_conv import CodedConv
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.ops.max_pool import MaxPool
from bevel.backends.program.ops.reduce_mean import ReduceMean
from bevel.backends.program.rates import Rates
from bevel.backends.program.recurrence import Recurrence
from bevel.backends.program.resources import Resource, Resources
from bevel.backends.target import Target

Plain = Mapping[type[Op] | None, Rates]  # by operator; what is said of None goes for all others

THUMB2: Plain = {
    Conv: Rates(mac=2.7, output=38, code=1010),
    Gemm: Rates(mac=2.73, output=21, call=550, code=670),
    CodedConv: Rates(mac=2.83, output=33, byte=4.6, code=970),
    Add: Rates(input=5.0, call=10, code=50),
    AveragePool: Rates(input=3.8, byte=12.8, code=850),
    MaxPool: Rates(input=4.5, code=440),
    ReduceMean: Rates(input=2.65, code=370),
    None: Rates(mac=2.7, input=4.5, code=400),
}
HELIUM: Plain = {
    Conv: Rates(mac=2.41, output=41, call=2600, code=890),
    Gemm: Rates(mac=2.5, output=22, call=380, code=570),
    CodedConv: Rates(mac=2.42, output=38, byte=4.1, code=1400),
    Add: Rates(input=4.5, call=12, code=50),
    AveragePool: Rates(input=3.6, byte=10.3, code=740),
    MaxPool: Rates(input=0.21, code=190),  # gcc makes vectors of it
    ReduceMean: Rates(input=2.6, code=360),
    None: Rates(mac=2.7, input=4.5, code=400),
}
THUMB: Plain = {
    Conv: Rates(mac=5.0, output=115, code=1260),
    Gemm: Rates(mac=5.3, output=9, byte=0.8, code=900),
    CodedConv: Rates(mac=5.0, output=130, byte=9.7, code=1270),
    Add: Rates(input=6.5, call=11, code=40),
    AveragePool: Rates(input=9.8, code=1140),
    MaxPool: Rates(input=7.8, code=710),
    ReduceMean: Rates(input=2.9, call=4500, code=530),
    None: Rates(mac=5.0, input=7.0, code=700),
}
CPU: Plain = {
    Conv: Rates(mac=6e-11, output=2e-9, call=2e-8, code=2000, unit=Resource.LATENCY),
    Gemm: Rates(mac=6e-11, output=2e-9, call=2e-8, code=2000, unit=Resource.LATENCY),
    CodedConv: Rates(mac=6e-11, output=2e-9, byte=1e-10, call=2e-8, code=2000, unit=Resource.LATENCY),
    None: Rates(mac=6e-11, input=6e-10, call=3e-8, code=1000, unit=Resource.LATENCY),
}


def plain(target: Target) -> Plain:
    """For the target's family of machines."""
    if not target.bare:
        return CPU
    if "dsp" not in target.abilities:
        return THUMB  # RISC-V too
    return HELIUM if "mve" in target.abilities else THUMB2


def estimate(op: Op, target: Target) -> Resources:
    """What one call of a kernel, or of an operator's plain loops, spends on `target`, and the flash of its code."""
    if isinstance(op, Kernel):
        return op.estimate(target)
    rates = plain(target)
    spent = rates.get(type(op), rates[None]).of(op)
    return spent + of_gates(op, target) if isinstance(op, Recurrence) else spent


def of_gates(op: Recurrence, target: Target) -> Resources:
    """What the functions of gates and the states behind them take, whoever multiplies: 75 to 97 instructions a gate of
    a step, three to four times as many without wide multiplications."""
    gates = op.rows * op.walk.steps * op.walk.batch
    if not target.bare:
        return Resources({Resource.LATENCY: 4e-9 * gates})
    return Resources({Resource.INSTRUCTIONS: (84 if "dsp" in target.abilities else 310) * gates})
