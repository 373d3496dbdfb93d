"""Constant channels go where nothing can see it, and every remaining integer is what it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from bevel.backends import target as targets
from bevel.backends.program.ops.coded_conv import CodedConv
from bevel.backends.target import Target
from bevel.passes.base import Work
from bevel.passes.integerize.prune_channels import PruneConstantChannels, kept_channels, kept_in_blocks
from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import activation_format, weight_format
from bevel.passes.recipes import DEFAULT, read
from bevel.passes.recipes.build import build

ZERO = [0, 2, 3, 5, 6, 7, 8, 9]  # of ten channels: two stay, and two more to fill a group of four
IMAGE = "float[2,3,7,6] x"
WIDE = "float[10,3,3,3] w, float[10] b"
DEPTHWISE = "float[10,1,3,3] d, float[10] e"
NARROW = "float[5,10,1,1] p, float[5] q"


def values(**more: Any) -> dict[str, Any]:
    """Weights whose channels `ZERO` are zero, behind biases of both signs."""
    rng = np.random.default_rng(3)
    w = 0.3 * rng.standard_normal((10, 3, 3, 3))
    w[ZERO] = 0
    return {"w": w, "b": rng.standard_normal(10), "axes": [2, 3]} | more


FIRST = "c = Conv <kernel_shape = [3,3]> (x, w, b)\n r = Relu (c)\n "
PADDED = "<kernel_shape = [3,3], pads = [1,1,1,1], group = 10>"
UNPADDED = "<kernel_shape = [3,3], group = 10>"
BEHIND = {
    "a product of pixels": (f"{FIRST} y = Conv (r, p, q)", f"{WIDE}, {NARROW}"),
    "a depthwise convolution without padding": (
        f"{FIRST} t = Conv {UNPADDED} (r, d, e)\n y = Conv (t, p, q)",
        f"{WIDE}, {DEPTHWISE}, {NARROW}",
    ),
    "a mean and a product": (
        f"{FIRST} m = GlobalAveragePool (r)\n f = Flatten (m)\n y = Gemm (f, g, h)",
        f"{WIDE}, float[10,4] g, float[4] h",
    ),
    "a sum and a product": (
        f"{FIRST} s = ReduceSum <keepdims = 0> (r, axes)\n y = Gemm (s, g, h)",
        f"{WIDE}, float[10,4] g, float[4] h, int64[2] axes",
    ),
    "a pool and a table": (
        f"{FIRST} m = MaxPool <kernel_shape = [2,2]> (r)\n s = Sigmoid (m)\n y = Conv (s, p, q)",
        f"{WIDE}, {NARROW}",
    ),
}


def channels(made: Any) -> list[int]:
    """Output channels of each product and depthwise convolution."""
    weights = [node.input[1] for node in made.integer.graph.node if node.op_type in ("Conv", "Gemm")]
    shapes = {one.name: tuple(one.dims) for one in made.integer.graph.initializer}
    return [shapes[name][0] if len(shapes[name]) > 2 else shapes[name][1] for name in weights]


def unpruned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PruneConstantChannels, "call", lambda self, work: Work.result(work, False))


@pytest.mark.parametrize(("body", "weights"), BEHIND.values(), ids=BEHIND)
def test_channels_without_weights_go(
    text: Any, stages: Any, monkeypatch: pytest.MonkeyPatch, body: str, weights: str
) -> None:
    model = text(body, IMAGE, weights=weights, values=values())
    pruned = stages(model)
    unpruned(monkeypatch)
    whole = stages(model)
    assert channels(whole)[0] == 10 and channels(pruned)[0] == 4
    assert "6 of 10 channels are constant" in str(pruned.notes)
    for sample in pruned.extremes():
        np.testing.assert_array_equal(pruned.run(sample)["y"], whole.run(sample)["y"])


@pytest.mark.parametrize("activations", ["int8", "int12", "e3m2"])
@pytest.mark.parametrize(
    ("body", "weights"),
    [(body.replace("Sigmoid", "Relu"), weights) for body, weights in BEHIND.values()],  # no tables of 2**16 entries
    ids=BEHIND,
)
def test_channels_without_weights_go_from_wide_sums_too(
    text: Any, stages: Any, monkeypatch: pytest.MonkeyPatch, body: str, weights: str, activations: str
) -> None:
    model = text(body, IMAGE, weights=weights, values=values())
    options = QuantizeOptions(weights=weight_format("e3m2"), activations=activation_format(activations))
    pruned = stages(model, options=options)
    unpruned(monkeypatch)
    whole = stages(model, options=options)
    first = next(call.kernel for call in pruned.program.calls if isinstance(call.kernel, CodedConv))
    assert first.plain.channels_out == 4
    for sample in pruned.extremes():
        np.testing.assert_array_equal(pruned.run(sample)["y"], whole.run(sample)["y"])


def test_channels_go_from_blocks_which_become_shorter(text: Any, stages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    w = np.random.default_rng(0).standard_normal((72, 3, 3, 3))
    w[5:31] = 0
    w[33:64] = 0
    weights = "float[72,3,3,3] w, float[72] b, float[5,72,1,1] p"
    model = text(f"{FIRST} y = Conv (r, p)", IMAGE, weights=weights, values={"w": w})
    options = QuantizeOptions(weights=weight_format("int4:block32"))
    pruned = stages(model, options=options)
    unpruned(monkeypatch)
    whole = stages(model, options=options)
    last = pruned.program.calls[-2].kernel
    assert isinstance(last, CodedConv)
    assert (last.plain.channels_in, last.coding.block) == (8 + 8 + 8, 8)
    for sample in pruned.extremes():
        np.testing.assert_array_equal(pruned.run(sample)["y"], whole.run(sample)["y"])


@pytest.mark.parametrize(("size", "kept"), [(32, [0, 1, 2, 3]), (6, [0, 1, 2, 3, 4, 5]), (8, [0, 1, 2, 3])])
def test_what_stays_of_a_block_is_filled_up(size: int, kept: list[int]) -> None:
    dropped = np.ones(40, bool)
    dropped[1] = False
    assert kept_in_blocks(size, 4, dropped, 4).tolist() == kept


def test_where_padding_shows_only_channels_at_the_zero_point_go(
    text: Any, stages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bias = np.where(
        np.arange(10) % 2 == 0, -1.0, 1.0
    )  # behind Relu: even channels hold the zero point, odd ones do not
    body = f"{FIRST} t = Conv {PADDED} (r, d, e)\n y = Conv (t, p, q)"
    model = text(body, IMAGE, weights=f"{WIDE}, {DEPTHWISE}, {NARROW}", values=values(b=bias))
    pruned = stages(model)
    unpruned(monkeypatch)
    whole = stages(model)
    varying = 10 - sum(1 for channel in ZERO if channel % 2 == 0)
    assert channels(pruned)[:2] == [-(-varying // 4) * 4] * 2
    for sample in pruned.extremes():
        np.testing.assert_array_equal(pruned.run(sample)["y"], whole.run(sample)["y"])


STAY = {
    "an output": (f"{FIRST} y = Identity (r)", WIDE, "y"),
    "two readers": (
        f"{FIRST} s = Conv (r, p, q)\n t = MaxPool <kernel_shape = [1,1]> (r)\n",
        f"{WIDE}, {NARROW}",
        "s, t",
    ),
    "a sum": (
        f"{FIRST} v = Conv <kernel_shape = [3,3]> (x, o, b)\n a = Add (r, v)\n y = Conv (a, p, q)",
        f"{WIDE}, float[10,3,3,3] o, {NARROW}",
        "y",
    ),
    "a softmax over channels": (f"{FIRST} s = Softmax <axis = 1> (r)\n y = Conv (s, p, q)", f"{WIDE}, {NARROW}", "y"),
}


@pytest.mark.parametrize(("body", "weights", "outputs"), STAY.values(), ids=STAY)
def test_channels_that_somebody_else_sees_stay(text: Any, stages: Any, body: str, weights: str, outputs: str) -> None:
    listed = ", ".join(f"float[] {name}" for name in outputs.split(", "))
    made = stages(text(body, IMAGE, listed, weights, values()))
    assert channels(made)[0] == 10
    for sample in made.extremes():
        made.run(sample)


def test_a_network_of_constants_keeps_a_group() -> None:
    assert kept_channels(10, np.ones(10, bool), 4).tolist() == [0, 1, 2, 3]
    assert kept_channels(2, np.ones(2, bool), 4).tolist() == [0, 1]


def test_nothing_constant_nothing_modified(text: Any, stages: Any) -> None:
    made = stages(text(f"{FIRST} y = Conv (r, p, q)", IMAGE, weights=f"{WIDE}, {NARROW}"))
    assert channels(made) == [10, 5] and "are constant" not in str(made.notes)


def test_how_many_channels_stay_together_is_the_targets_unless_it_is_said(text: Any, stages: Any) -> None:
    body, weights = BEHIND["a product of pixels"]
    quantized = stages(text(body, IMAGE, weights=weights, values=values())).quantized
    target = targets.load("cortex-m7")

    def first(target: Target | None, prune: PruneConstantChannels) -> int:
        recipe = build(read(DEFAULT)).with_fields(PruneConstantChannels, together=prune.together)
        graph = recipe.run("integerize", Work(gs.import_onnx(quantized), target)).graph
        return next(int(node.outputs[0].shape[1]) for node in graph.nodes if node.op == "Conv")

    assert first(None, PruneConstantChannels()) == 2
    assert first(target, PruneConstantChannels()) == 4
    assert first(target, PruneConstantChannels(together=3)) == 3
