"""TVM's OpenCL C as a host can call it: an operand is a memory of the host's and a place in it.

All activations lie in one buffer and all weights in another: OpenCL 1.2 has no pointer into a buffer but where
sub-buffers start, which devices align to more bytes than an arena does.

    __kernel void k(__global char* restrict X_p, int step)
    __kernel void k(__global uchar* X_m, int X_o, int step) {
      __global char* restrict X_p = (__global char*)(X_m + X_o);
"""

from __future__ import annotations

import re
from itertools import pairwise

FUNCTION = re.compile(r"^__kernel void (?P<name>\w+)\((?P<parameters>[^)]*)\) \{$", re.MULTILINE)
PROTOTYPE = re.compile(r"^(?:__kernel void \w+\([^)]*\);|// Function: .*)\n", re.MULTILINE)
POINTER = re.compile(r"__global (?P<type>\w+)\* (?P<apart>restrict )?(?P<name>\w+)_p")

# Products and sums of floats stay two roundings, as in the reference. BEVEL_DOTS: the host found the extension.
PRELUDE = """\
#pragma OPENCL FP_CONTRACT OFF
#define bevel_mul_hi(a, b) mul_hi((int)(a), (int)(b))
#define bevel_bytes4(a, b, c, d) as_int((char4)((char)(a), (char)(b), (char)(c), (char)(d)))
#ifdef BEVEL_DOTS
#pragma OPENCL EXTENSION cl_khr_integer_dot_product : enable
#define bevel_dot4(a, b, c) ((c) + dot_4x8packed_ss_int(as_uint(a), as_uint(b)))
#else
int bevel_dot4(int a, int b, int c);
int bevel_dot4(int a, int b, int c) {
  const int4 p = convert_int4(as_char4(a)) * convert_int4(as_char4(b));
  return c + p.x + p.y + p.z + p.w;
}
#endif
"""


def portable(source: str) -> str:
    """The device code of all kernels, in the order in which TVM wrote them."""
    return PRELUDE + FUNCTION.sub(with_memories, PROTOTYPE.sub("", source)).strip() + "\n"


def with_memories(function: re.Match[str]) -> str:
    parameters, pointers = [], []
    for one in filter(None, function["parameters"].split(", ")):
        found = POINTER.fullmatch(one)
        if found is None:
            parameters.append(one)
            continue
        kind, name = f"__global {found['type']}*", found["name"]
        parameters.append(f"__global uchar* {name}_m, int {name}_o")
        pointers.append(f"  {kind} {found['apart'] or ''}{name}_p = ({kind})({name}_m + {name}_o);\n")
    return f"__kernel void {function['name']}({', '.join(parameters)}) {{\n{''.join(pointers)}".rstrip("\n")


def functions(source: str) -> list[str]:
    """The parts that a source is joined of: what stands before the kernels, and each of them."""
    starts = [0, *(found.start() for found in FUNCTION.finditer(source)), len(source)]
    return [source[first:end] for first, end in pairwise(starts) if end > first]
