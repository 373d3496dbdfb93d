"""What may stand in an integer graph: each function is one operator's, and each operator lowers what it declares."""

from __future__ import annotations

import onnx
import pytest

from bevel.passes.operators import INTEGER_OPERATORS, lowering_operators
from bevel.passes.operators.base import DOMAIN, Function, IntegerOperator
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES

DECLARED = list(dict.fromkeys((one, function) for one in INTEGER_OPERATORS for function in one.functions))
FUNCTIONS = list(dict.fromkeys(function for _, function in DECLARED))


def test_no_two_functions_have_one_name() -> None:
    names = [function.name for function in FUNCTIONS]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(("operator", "function"), DECLARED, ids=lambda one: getattr(one, "name", ""))
def test_an_operator_lowers_the_functions_that_it_declares(operator: IntegerOperator, function: Function) -> None:
    lowers = lowering_operators()[True, function.name]
    assert type(lowers).lower is type(operator).lower


@pytest.mark.parametrize("operator", INTEGER_OPERATORS, ids=lambda one: type(one).__name__)
def test_an_operator_lowers_the_standard_operators_that_it_names(operator: IntegerOperator) -> None:
    for name in operator.standard:
        assert lowering_operators()[False, name] is operator
        assert onnx.defs.has(name), f"ONNX has no {name}"


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda one: one.name)
@pytest.mark.parametrize("opset", [21, 23])
def test_a_function_says_what_it_reads_and_makes(function: Function, opset: int) -> None:
    proto = function.proto(opset)
    onnx.checker.check_function(proto, context(opset))
    read, made = list(function.inputs), list(function.outputs)
    assert (proto.domain, list(proto.input), list(proto.output)) == (DOMAIN, read, made)
    referred = {one.ref_attr_name for node in proto.node for one in node.attribute if one.ref_attr_name}
    assert referred <= set(function.attributes)
    stores = set(OUTPUT_ATTRIBUTES) & set(function.attributes)
    assert stores <= referred, "every bound of the result is used"


def context(opset: int) -> onnx.checker.C.CheckerContext:
    found = onnx.checker.C.CheckerContext()
    found.ir_version, found.opset_imports = 10, {"": opset}
    return found
