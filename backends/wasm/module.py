"""The JavaScript around a model in WebAssembly: an ES module that loads it, and its types for TypeScript."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import prod

from bevel.backends.binary.artifact import Slot
from bevel.backends.program.program import Program

ARRAYS = {
    "float32": "Float32Array",
    "float64": "Float64Array",
    "int8": "Int8Array",
    "uint8": "Uint8Array",
    "bool": "Uint8Array",
    "int16": "Int16Array",
    "uint16": "Uint16Array",
    "int32": "Int32Array",
    "uint32": "Uint32Array",
    "int64": "BigInt64Array",
    "uint64": "BigUint64Array",
}


def arena_source(program: Program) -> str:
    """C of the memory that the module's one instance of the model works in."""
    name = program.name
    return f"""/* The memory of the model, which JavaScript fills and reads. */
#include "{name}.h"

void *{name}_arena(void);

void *{name}_arena(void) {{
  static _Alignas(64) uint8_t arena[{name.upper()}_ARENA_BYTES];
  return arena;
}}
"""


def exported(program: Program) -> tuple[str, ...]:
    """The functions that JavaScript calls."""
    also = {f"{program.name}_reset": program.states, f"{program.name}_set_bits": program.widths}
    return program.entry, f"{program.name}_arena", *(name for name, wanted in also.items() if wanted)


def script(program: Program, inputs: Sequence[Slot], outputs: Sequence[Slot]) -> str:
    """The ES module."""
    name, reset = program.name, f"{program.name}_reset(arena)"
    begin = f"\n  exports.{reset};" if program.states else ""
    methods = f"\n    reset: () => exports.{reset}," if program.states else ""
    methods += f"\n    setBits: (bits) => exports.{name}_set_bits(bits)," if program.widths else ""
    return f"""/* {name} in WebAssembly.
 *
 *   import {{ load }} from "./{name}.mjs";
 *   const model = await load(fetch("{name}.wasm")); // or the bytes of that file
 *   model.inputs["..."].set(values);
 *   model.run();
 *   model.outputs["..."];                           // a view: the next run writes over it
 *
 * A run may write over its inputs: fill all of them before each.
 */
const INPUTS = {table(inputs)};
const OUTPUTS = {table(outputs)};

export async function load(source) {{
  const given = await source;
  const bytes = typeof given.arrayBuffer === "function" ? await given.arrayBuffer() : given;
  const {{ exports }} = (await WebAssembly.instantiate(bytes, {{}})).instance;
  exports._initialize?.();
  const arena = exports.{name}_arena();{begin}
  const view = ([port, View, length, at]) => [port, new View(exports.memory.buffer, arena + at, length)];
  return {{
    inputs: Object.fromEntries(INPUTS.map(view)),
    outputs: Object.fromEntries(OUTPUTS.map(view)),
    run: () => exports.{program.entry}(arena),{methods}
  }};
}}
"""


def table(slots: Sequence[Slot]) -> str:
    """[name, its array's type, elements, offset in the arena] of each port."""
    rows = [f"  [{json.dumps(one.port.name)}, {array_of(one)}, {elements(one)}, {one.offset}]," for one in slots]
    return "\n".join(["[", *rows, "]"])


def declarations(program: Program, inputs: Sequence[Slot], outputs: Sequence[Slot]) -> str:
    """The types of the ES module."""
    methods = (
        "\n  /** Forget all runs before: where a new sequence begins. */\n  reset(): void;" if program.states else ""
    )
    if program.widths:
        known = " or ".join(map(str, program.widths))
        methods += f"\n  /** Weights of {known} bits from now on. */\n  setBits(bits: number): void;"
    return f"""/* Types of {program.name}.mjs. */
export interface Model {{
  /** Fill all of them before each run. */
  readonly inputs: {{
{members(inputs)}
  }};
  /** Views, which the next run writes over. */
  readonly outputs: {{
{members(outputs)}
  }};
  /** {"One step of a sequence." if program.states else "One inference."} */
  run(): void;{methods}
}}

/** The model from {program.name}.wasm: its bytes, or the response that holds them. */
export function load(source: BufferSource | Response | PromiseLike<BufferSource | Response>): Promise<Model>;
"""


def members(slots: Sequence[Slot]) -> str:
    return "\n".join(
        f"    /** {' x '.join(map(str, one.port.shape)) or 'one number'} */\n"
        f"    readonly {json.dumps(one.port.name)}: {array_of(one)};"
        for one in slots
    )


def array_of(slot: Slot) -> str:
    return ARRAYS[slot.port.dtype]


def elements(slot: Slot) -> int:
    return prod(slot.port.shape)
