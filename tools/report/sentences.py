"""What tables say in sentences."""

from __future__ import annotations

from bevel.tools.report.report import Measurement, Size


def compared_with(found: Measurement) -> str:
    """What a device's outputs were held to, and how many elements differ."""
    if not found.rounded:
        return f"{found.inputs} inputs, {found.mismatches} elements differ from integer.onnx"
    told = "bit for bit what the kernels' references compute"
    return f"{found.inputs} inputs, {told}; onnxruntime rounds {found.rounded:,} elements otherwise"


def larger(size: Size) -> str:
    """What a file says that has fewer weights than quantizers around them."""
    grown = size.quantized_bytes > size.float_bytes
    return ", more than the float one: its quantizers outweigh so few weights" if grown else ""
