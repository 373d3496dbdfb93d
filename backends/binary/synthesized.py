"""What open synthesis makes of a design in programmable logic: counted, not estimated; neither placed nor routed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Synthesized:
    """lut: of them `memory_lut` are memories and shift registers; bram: blocks of 36 Kibit. tool: its name and version;
    part: what it synthesized for."""

    lut: int
    memory_lut: int
    ff: int
    dsp: int
    bram: float
    tool: str
    part: str

    @property
    def told(self) -> str:
        memories = f" ({self.memory_lut:,} of them memories)" if self.memory_lut else ""
        return (
            f"{self.lut:,} lookup tables{memories}, {self.ff:,} flip-flops, {self.dsp:,} multiplier blocks, "
            f"{self.bram:,.1f} memory blocks"
        )
