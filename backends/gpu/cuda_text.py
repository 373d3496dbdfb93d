"""TVM's CUDA C with what kernels call: four products of int8 at a time (dp4a), a word of four bytes, the upper word of
a product, and a warp's product of matrices of int8 (PTX ISA, "mma"), added to four sums of each thread."""

from __future__ import annotations

import re

PRELUDE = r"""#define bevel_mul_hi(a, b) __mulhi((a), (b))
#define bevel_dot4(a, b, c) __dp4a((a), (b), (c))
#define bevel_bytes4(a, b, c, d) \
  ((int)__byte_perm(__byte_perm((a), (b), 0x0040), __byte_perm((c), (d), 0x0040), 0x5410))
#ifdef __CUDACC__
#define BEVEL_MMA(k, a, b) \
  asm volatile("mma.sync.aligned.m16n8" k ".row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, " a ", " b ", {%0,%1,%2,%3};"
#define BEVEL_SUMS "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
__device__ __forceinline__ void bevel_mma32(int *c, int a0, int a1, int a2, int a3, int b0, int b1) {
  BEVEL_MMA("k32", "{%4,%5,%6,%7}", "{%8,%9}") : BEVEL_SUMS : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void bevel_mma16(int *c, int a0, int a1, int b0) {
  BEVEL_MMA("k16", "{%4,%5}", "{%6}") : BEVEL_SUMS : "r"(a0), "r"(a1), "r"(b0));
}
#endif
"""
PROTOTYPE = re.compile(r"^extern \"C\" __global__ void (?:__launch_bounds__\(\d+\) )?\w+\([^;{]*\);\n", re.MULTILINE)


def with_prelude(source: str) -> str:
    return PRELUDE + PROTOTYPE.sub("", source).strip() + "\n"
