"""TVMScript parsed with frames only, sources known and small expressions evaluated here is the same function."""

import inspect

import pytest
import tvm
from tvm.script.parser.core import diagnostics, doc, evaluator, parser
from tvm.script.parser.core import entry as parsing
from tvm.tirx.script.parser import entry

from bevel.backends.cortex_m.dsp import add_dsp, recurrent_dsp
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.ops import add, softmax
from bevel.backends.tir import script_evaluation
from bevel.backends.tir.builder import build
from bevel.backends.tir.script_parsing import FramesOnly, RememberedSource, install

KERNELS = [next(iter(module.cases())) for module in (add, add_dsp, recurrent_dsp, softmax)]


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: type(kernel).__name__)
def test_a_kernel_is_the_same_function_as_tvm_parses_it(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    install()
    quick = [build(kernel, "f"), build(kernel, "f")]  # when nothing of it is known, and when all is
    with monkeypatch.context() as patch:
        patch.setattr(entry, "inspect", inspect)
        patch.setattr(parser, "inspect", inspect)
        patch.setattr(parsing, "Source", diagnostics.Source)
        patch.setattr(evaluator, "_eval_expr", script_evaluation.compiled)
        whole = build(kernel, "f")
    for one in quick:
        tvm.ir.assert_structural_equal(one, whole)
        assert one.script() == whole.script()


def test_kernels_are_parsed_with_frames_only() -> None:
    assert isinstance(entry.inspect, FramesOnly)
    assert isinstance(parser.inspect, FramesOnly)


def test_a_source_that_is_known_is_as_tvm_reads_it() -> None:
    for function in (test_frames_are_those_of_the_stack, inspect.stack, test_frames_are_those_of_the_stack):
        assert vars(RememberedSource(function)) == vars(diagnostics.Source(function))


EXPRESSIONS = [
    *("x", "3", "'a'", "None", "len", "x.real", "x.real.imag", "items[0]", "items[x]", "items[0:1]", "sum(items)"),
    *("max(x, 3)", "max(items, key=negated)", "max(*items)", "dict(**named)", "(x, 3)", "x + 1", "[x for x in items]"),
]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_an_expression_comes_to_what_python_makes_of_it(text: str) -> None:
    table = {"x": 1, "items": [4, 5], "negated": lambda one: -one, "named": {"a": 1}}
    assert script_evaluation.evaluated(doc.parse(text, mode="eval").body, dict(table)) == eval(text, dict(table))


@pytest.mark.parametrize(("text", "error"), [("y", NameError), ("x.y", AttributeError), ("x()", TypeError)])
def test_an_expression_fails_as_in_python(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        script_evaluation.evaluated(doc.parse(text, mode="eval").body, {"x": 1})


def test_frames_are_those_of_the_stack() -> None:
    install()
    expected = [(info.frame, info.function) for info in inspect.stack(context=0)]
    assert [(info.frame, info.function) for info in entry.inspect.stack()] == expected
