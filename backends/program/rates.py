"""What a kernel spends in one call, estimated from its work: in proportion to its multiplications, to the elements it
reads and writes and to the bytes of its constants, as `python -m bevel.tools.bench.rates` fits it to measured calls.

Estimates choose between kernels of one operator (`bevel.backends.select`), so their ratios count. Where a device
measures, what it measured is reported, and nothing of this.
"""

from __future__ import annotations

from dataclasses import dataclass

from bevel.backends.program.op import Op, Role
from bevel.backends.program.resources import Resource, Resources


@dataclass(frozen=True)
class Rates:
    """Amounts of `unit` for each MAC, each element of inputs and of the output, each byte of constants, each of what
    `Op.besides` counts, each call; and the bytes of one function's code, without what it shares with others."""

    mac: float = 0.0
    input: float = 0.0
    output: float = 0.0
    byte: float = 0.0
    besides: float = 0.0
    call: float = 0.0
    code: int = 0
    unit: Resource = Resource.INSTRUCTIONS

    def of(self, op: Op) -> Resources:
        """What one call of `op` spends, and the flash that its function takes beside constants."""
        rates = (self.mac, self.input, self.output, self.byte, self.besides)
        spent = sum(rate * amount for rate, amount in zip(rates, work_of(op), strict=True))
        return Resources({self.unit: self.call + spent, Resource.FLASH: self.code})

    def beyond(self, inner: Resources, op: Op) -> Resources:
        """Of a call of `op` that does all that `inner` is the estimate of, and then some, in code of its own."""
        return inner + self.of(op) | {Resource.FLASH: self.code}


def work_of(op: Op) -> tuple[int, int, int, int, int]:
    """MACs, elements of the inputs and of the output, bytes of the constants, and what `Op.besides` counts."""
    inputs, outputs = (sum(operand.size for operand in op.roles(role)) for role in (Role.INPUT, Role.OUTPUT))
    return op.macs, inputs, outputs, sum(operand.bytes for operand in op.roles(Role.CONSTANT)), op.besides
