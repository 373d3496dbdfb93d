"""What no input's values decide is static dataflow; what they decide is refused by name."""

import onnx
import pytest

from bevel.calib.errors import UserError
from bevel.passes.canonicalize import canonicalize
from bevel.passes.canonicalize.evaluate import check_equivalence, random_inputs
from bevel.passes.canonicalize.fold_control_flow import MAX_TURNS, fold_control_flow

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'
SHAPE = "s = Shape (x) three = Constant <value_int = 1> () d = Gather <axis = 0> (s, three)"


def parse(body: str, inputs: str = "float[2,4] x", outputs: str = "float[N,M] y") -> onnx.ModelProto:
    return onnx.parser.parse_model(f"{HEADER} g ({inputs}) => ({outputs}) {{ {body} }}")


def folded(model: onnx.ModelProto) -> list[str]:
    """The operators without Identity and Constant, after proving that onnxruntime finds the same function."""
    result = fold_control_flow(model)
    check_equivalence(model, result, [random_inputs(model, seed) for seed in range(2)])
    canonicalize(model)
    return [node.op_type for node in result.graph.node if node.op_type not in ("Identity", "Constant")]


def choice(condition: str) -> str:
    branches = (
        "then_branch = t () => (float[A,B] p) { p = Neg (x) }, else_branch = e () => (float[A,B] q) { q = Exp (x) }"
    )
    return f"{condition} y = If (c) <{branches}>"


@pytest.mark.parametrize(
    ("condition", "taken"),
    [
        (f"{SHAPE} four = Constant <value_int = 4> () c = Equal (d, four)", "Neg"),
        (f"{SHAPE} five = Constant <value_int = 5> () c = Equal (d, five)", "Exp"),
        ("c = Constant <value = bool {1}> ()", "Neg"),
        ("c = Constant <value = bool[1] {0}> ()", "Exp"),
    ],
)
def test_a_known_condition_takes_its_branch(condition, taken) -> None:
    assert folded(parse(choice(condition)))[-1] == taken


def test_branches_may_hold_branches() -> None:
    inner = (
        "then_branch = t2 () => (float[A,B] u) { u = Abs (x) }, else_branch = e2 () => (float[A,B] v) { v = Neg (x) }"
    )
    outer = f"then_branch = t () => (float[A,B] r) {{ r = If (c) <{inner}> }}"
    outer += ", else_branch = e () => (float[A,B] o) { o = Identity (x) }"
    assert folded(parse(f"c = Constant <value = bool {{1}}> () y = If (c) <{outer}>")) == ["Abs"]
    assert folded(parse(f"c = Constant <value = bool {{0}}> () y = If (c) <{outer}>")) == []


LOOP = """m = Constant <value_int = {trips}> () go = Constant <value = bool {{1}}> ()
    y, all = Loop (m, go, x) <body = b (int64 i, bool c, float[A,B] v) => (bool c2, float[A,B] w, float[A,B] w2) {{
        f = Cast <to = 1> (i) a = Add (v, f) w = Sin (a) w2 = Neg (w) {ends} }}>"""
WALK = """y = Loop ({trips}, , x) <body = b (int64 i, bool c, float[A,B] v) => (bool c2, float[A,B] w) {{
        c2 = Identity (c) w = Cos (v) }}>"""
BOTH = "float[N,M] y, float[K,N,M] all"


@pytest.mark.parametrize(
    ("trips", "ends", "turns"),
    [
        (3, "c2 = Identity (c)", 3),
        (1, "c2 = Constant <value = bool {1}> ()", 1),
        (50, "two = Constant <value_int = 2> () c2 = Less (i, two)", 3),
        (5, "c2 = Constant <value = bool {0}> ()", 1),
    ],
)
def test_a_loop_of_known_length_is_its_turns(trips, ends, turns) -> None:
    operators = folded(parse(LOOP.format(trips=trips, ends=ends), outputs=BOTH))
    assert operators.count("Sin") == operators.count("Unsqueeze") == turns


def test_a_loop_that_counts_a_shape_is_its_turns() -> None:
    assert folded(parse(f"{SHAPE} {WALK.format(trips='d')}")).count("Cos") == 4


SCAN = """zero = Constant <value = float[{size}] {zeros}> () h, y = Scan (zero, x) <num_scan_inputs = 1,
    body = b (float[{size}] s, float[{size}] e) => (float[{size}] s2, float[{size}] o) {{
        s2 = Add (s, e) o = Tanh (s2) }}{attributes}>"""


@pytest.mark.parametrize(
    ("attributes", "size", "turns"),
    [
        ("", 4, 2),
        (", scan_input_axes = [1], scan_output_axes = [1]", 2, 4),
        (", scan_input_directions = [1], scan_output_directions = [1]", 4, 2),
    ],
)
def test_a_scan_is_its_turns(attributes, size, turns) -> None:
    zeros = "{" + ", ".join(["0.5"] * size) + "}"
    body = SCAN.format(size=size, zeros=zeros, attributes=attributes)
    assert folded(parse(body, outputs="float[K] h, float[N,M] y")).count("Tanh") == turns


SIGN = "r = ReduceSum <keepdims = 0> ({0}) z = Constant <value_float = 0.0> () {1} = Less (r, z)"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (choice(SIGN.format("x", "c")), r"y \(If\): the input's"),
        (LOOP.format(trips=MAX_TURNS + 1, ends="c2 = Identity (c)"), f"more than {MAX_TURNS} turns"),
        (LOOP.format(trips=0, ends="c2 = Identity (c)"), "makes no turn"),
        (LOOP.format(trips=4, ends=SIGN.format("w", "c2")), "when it ends"),
        (f"r = ReduceMax <keepdims = 0> (x) m = Cast <to = 7> (r) {WALK.format(trips='m')}", "how often"),
    ],
)
def test_what_the_input_decides_is_refused_by_name(body, reason) -> None:
    model = parse(body, outputs=BOTH if "all =" in body else "float[N,M] y")
    for node in model.graph.node:
        node.name = node.output[0]
    with pytest.raises(UserError, match=reason) as caught:
        canonicalize(model)
    assert "\n" not in str(caught.value)


def test_a_graph_without_control_flow_is_left_alone() -> None:
    model = parse("y = Relu (x)")
    assert fold_control_flow(model) is model


def test_the_model_itself_stays_as_it_was() -> None:
    model = parse(choice("c = Constant <value = bool {1}> ()"))
    before = model.SerializeToString()
    fold_control_flow(model)
    assert model.SerializeToString() == before
