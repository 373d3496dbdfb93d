"""TVM's CUDA C with what kernels call: four products of int8 at a time (dp4a), a word of four bytes, the
upper word of a product."""

from __future__ import annotations

import re

PRELUDE = r"""#define bevel_mul_hi(a, b) __mulhi((a), (b))
#define bevel_dot4(a, b, c) __dp4a((a), (b), (c))
#define bevel_bytes4(a, b, c, d) \
  ((int)__byte_perm(__byte_perm((a), (b), 0x0040), __byte_perm((c), (d), 0x0040), 0x5410))
"""
PROTOTYPE = re.compile(r"^extern \"C\" __global__ void (?:__launch_bounds__\(\d+\) )?\w+\([^;{]*\);\n", re.MULTILINE)


def with_prelude(source: str) -> str:
    return PRELUDE + PROTOTYPE.sub("", source).strip() + "\n"
