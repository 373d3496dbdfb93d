"""Kernels with loops for several instruction sets: an object for each set, and C that calls the best of them.

<symbol>             asks the processor, once a library, and calls one of
<symbol>_avx512vnni  the same operands, the same results
<symbol>_base        what the target itself has
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from bevel.backends.backend import Begin, Kernels, Source
from bevel.backends.binary.c.bundle import parameters
from bevel.backends.cpu.levels import LEVELS, PROCESSOR, Level
from bevel.backends.program.kernel import levels_of
from bevel.backends.program.op import Op
from bevel.backends.target import Target
from bevel.backends.tir.compiled import kernels_object

BASE = "base"


def built(kernel: Op, target: Target) -> list[Level]:
    """The levels, the best first, that `kernel` has loops for and `target` takes."""
    return [LEVELS[name] for name in target.levels if name in levels_of(kernel)]


def with_base(code: Kernels, target: Target) -> Kernels:
    """`code` with the loops for the target itself of each kernel that has others under a name of their own."""
    symbols = {symbol: f"{symbol}_{BASE}" if built(one, target) else symbol for symbol, one in code.kernels.items()}
    kernels = {symbols[symbol]: one for symbol, one in code.kernels.items()}
    return replace(code, kernels=kernels, aliasing=frozenset(symbols[one] for one in code.aliasing))


def at_levels(code: Kernels, target: Target, begin: Begin) -> Iterator[Source]:
    """The objects of the other loops, and the C that chooses."""
    chosen = {symbol: one for symbol, one in code.kernels.items() if built(one, target)}
    if not chosen:
        return
    used = [level for level in LEVELS.values() if any(level in built(one, target) for one in chosen.values())]
    for level in used:
        own = {f"{symbol}_{level.name}": one for symbol, one in chosen.items() if level in built(one, target)}
        aliasing = frozenset(f"{symbol}_{level.name}" for symbol in code.aliasing)
        made = kernels_object(own, level.llvm(target.llvm or {}), aliasing, begin, level.name)
        yield Source(f"{code.name}_kernels_{level.name}.o", made)
    yield Source(f"{code.name}_dispatch.c", dispatch_source(code.name, chosen, used))


def dispatch_source(model: str, kernels: Mapping[str, Op], levels: list[Level]) -> str:
    found = " | ".join(f"({level.test} ? {bit(place)} : 0)" for place, level in enumerate(levels))
    functions = "\n".join(dispatcher(symbol, one, levels) for symbol, one in kernels.items())
    return f"""/* Kernels for the instruction sets of the processor at hand. */
#include "{model}_kernels.h"
{PROCESSOR}
/* A bit for each set. Threads may ask at the same time: all of them find, and write, the same. */
static int bevel_levels(void) {{
  static volatile int known = -1;
  if (known < 0) known = {found};
  return known;
}}

{functions}"""


def dispatcher(symbol: str, kernel: Op, levels: list[Level]) -> str:
    """The function that calls the best of a kernel's, and the prototypes of these."""
    taken, names = parameters(kernel), ", ".join(operand.name.lower() for operand in kernel.operands())
    own = {bit(place): level.name for place, level in enumerate(levels) if level.name in levels_of(kernel)}
    declared = "\n".join(f"void {symbol}_{suffix}({taken});" for suffix in (*own.values(), BASE))
    tests = "".join(
        f"  if (levels & {mask}) {{\n    {symbol}_{name}({names});\n    return;\n  }}\n" for mask, name in own.items()
    )
    return f"""{declared}
void {symbol}({taken}) {{
  const int levels = bevel_levels();
{tests}  {symbol}_{BASE}({names});
}}
"""


def bit(place: int) -> str:
    return hex(1 << place)
