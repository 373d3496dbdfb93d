"""Weights as codes, decoded into scratch or between products: on every machine, where they are smaller by enough."""

from __future__ import annotations

from bevel.backends.encodings import coded
from bevel.backends.program.kernel import Special
from bevel.backends.program.ops.coded_conv import call_of, of_gemm
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.target import Target

# A kernel that decodes has more code than one that does not, so that small layers keep their bytes.
LEAST_SAVED_BYTES = 256
LEAST_SAVED_SHARE = 0.1


def specialize(call: Call, target: Target) -> Special | str:
    """The rule, for every target: weights whose codes take at least a tenth, and what their decoding adds, less."""
    kernel = call.kernel
    if isinstance(kernel, Gemm):
        plain = of_gemm(kernel.rows, kernel.k, kernel.n, kernel.output)
    elif isinstance(kernel, Conv):
        plain = kernel
    else:
        return "no weights"
    weights, bias, multiplier, shift = call.constants
    stored = coded.shortest(weights.reshape(plain.operands()[1].shape), call.occurring(weights))
    found = call_of(plain, stored, (bias, multiplier, shift))
    saved = weights.nbytes - sum(array.nbytes for array in found.constants[:-3])
    if saved < max(LEAST_SAVED_BYTES, LEAST_SAVED_SHARE * weights.nbytes):
        return f"codes of {stored.coding.bits} bits would save {saved} bytes"
    return found
