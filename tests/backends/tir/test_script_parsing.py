"""TVMScript parsed with frames only is the same function."""

import inspect

import pytest
import tvm
from tvm.script.parser.core import parser
from tvm.tirx.script.parser import entry

from bevel.backends.cortex_m.dsp import add_dsp
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.ops import add, softmax
from bevel.backends.tir.builder import build
from bevel.backends.tir.script_parsing import FramesOnly, install

KERNELS = [next(iter(module.cases())) for module in (add, add_dsp, softmax)]


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: type(kernel).__name__)
def test_a_kernel_is_the_same_function_whether_stacks_have_source_lines_or_not(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = build(kernel, "f")
    with monkeypatch.context() as patch:
        patch.setattr(entry, "inspect", inspect)
        patch.setattr(parser, "inspect", inspect)
        whole = build(kernel, "f")
    tvm.ir.assert_structural_equal(quick, whole)


def test_kernels_are_parsed_with_frames_only() -> None:
    assert isinstance(entry.inspect, FramesOnly)
    assert isinstance(parser.inspect, FramesOnly)


def test_frames_are_those_of_the_stack() -> None:
    install()
    expected = [(info.frame, info.function) for info in inspect.stack(context=0)]
    assert [(info.frame, info.function) for info in entry.inspect.stack()] == expected
