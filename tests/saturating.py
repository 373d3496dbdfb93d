"""Where onnxruntime and OpenVINO multiply uint8 by int8 in pairs, and what two products are too large for is cut off.

x86-64 without VNNI adds two products of uint8 by int8 in int16 (VPMADDUBSW), which saturates: there, these runtimes do
not compute what the operators of a model say (onnxruntime.ai/docs, "Quantize ONNX models", section on U8S8 and
saturation). Bevel's products do, so that nothing can be compared.
"""

from __future__ import annotations

import platform

import pytest

from bevel.backends.cpu.levels import AVX512_VNNI, AVX_VNNI

SATURATES = platform.machine() == "x86_64" and not (AVX512_VNNI.here() or AVX_VNNI.here())
WHY = "this processor has no VNNI: other runtimes saturate sums of products of uint8 by int8 here"
exact = pytest.mark.skipif(SATURATES, reason=WHY)
