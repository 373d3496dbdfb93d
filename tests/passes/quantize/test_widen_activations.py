"""Tensors that int8 loses get int16, by what their rounding alone costs the results; healthy networks keep theirs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from bevel.calib.formats.format import INT16
from bevel.calib.observe.observe import observe
from bevel.passes.canonicalize import canonicalize
from bevel.passes.quantize import NodeFormat, QuantizeOptions
from bevel.passes.quantize.widen_activations import Widened, widen_activations

Array = NDArray[Any]
Sample = dict[str, Array]
SIGNAL = "float[1,1,64] x"
FILTERS = "float[6,1,8] w"
LOGARITHM = "c = Conv (x, w)\n q = Mul (c, c)\n e = Add (q, tiny)\n l = Log (e)\n y = Conv (l, v)"
WEIGHTS = f"{FILTERS}, float tiny, float[3,6,3] v"
VARIANCE = (
    "m = ReduceMean (x, a)\n d = Sub (x, m)\n q = Mul (d, d)\n s = ReduceMean (q, a)\n e = Add (s, tiny)\n"
    "r = Sqrt (e)\n i = Reciprocal (r)\n n = Mul (d, i)\n y = Conv (n, w)"
)
HEALTHY = "c = Conv (x, w)\n s = Sigmoid (c)\n a = Mul (c, s)\n y = Conv (a, v)"


def loudness(count: int = 12) -> list[Sample]:
    """Signals whose loudness spans five decades of power."""
    rng = np.random.default_rng(0)
    gains = 10.0 ** rng.uniform(-2.5, 0, count)
    return [{"x": (gain * rng.standard_normal((1, 1, 64))).astype(np.float32)} for gain in gains]


def found_in(model: onnx.ModelProto, samples: Any, options: QuantizeOptions | None = None) -> Widened:
    wanted = options or QuantizeOptions()
    graph, _ = canonicalize(model, samples[:1])
    before = gs.export_onnx(graph)
    statistics = observe(before, samples, QuantizeOptions().wants(graph))
    found = widen_activations(graph, statistics, wanted.chosen.method, wanted.chosen, samples)
    assert gs.export_onnx(graph) == before
    return found


def sqnr(model: onnx.ModelProto, made: Any, samples: Any) -> float:
    sessions = [
        ort.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"])
        for one in (model, made.integer)
    ]
    wanted, found = (np.stack([session.run(None, sample)[0] for sample in samples]) for session in sessions)
    return float(10 * np.log10((wanted**2).sum() / ((wanted - found) ** 2).sum()))


@pytest.mark.parametrize(
    ("body", "weights", "values"),
    [(LOGARITHM, WEIGHTS, {"tiny": 1e-6}), (VARIANCE, f"int64[1] a, float tiny, {FILTERS}", {"a": -1, "tiny": 1e-9})],
    ids=["logarithm of powers", "divided by its deviation"],
)
def test_what_spans_decades_gets_int16_and_the_results_come_back(
    body: str, weights: str, values: dict[str, Any], text: Any, stages: Any
) -> None:
    model, samples = text(body, SIGNAL, "float[] y", weights, values), loudness()
    widened = found_in(model, samples)
    assert widened.nodes
    assert all(one == NodeFormat(activations=INT16) for one in widened.nodes.values())
    assert all("int8 of it alone leaves" in note.text for note in widened.notes)
    ports = {"inputs": "float", "outputs": "float"}
    before = sqnr(model, stages(model, samples, QuantizeOptions(), **ports), samples)
    after = sqnr(model, stages(model, samples, QuantizeOptions(nodes=widened.nodes), **ports), samples)
    assert after > before + 6


@pytest.mark.parametrize("tiny", [1e-5, 1e-7], ids=["within int16", "beyond int16"])
def test_the_note_tells_what_int16_leaves(tiny: float, text: Any, stages: Any) -> None:
    model, samples = text(LOGARITHM, SIGNAL, "float[] y", WEIGHTS, {"tiny": tiny}), loudness(8)
    widened = found_in(model, samples)
    (told,) = {float(note.text.rpartition("these in more bits ")[2]) for note in widened.notes}
    made = stages(model, samples, QuantizeOptions(weights=INT16, nodes=widened.nodes), inputs="float", outputs="float")
    assert sqnr(model, made, samples) == pytest.approx(told, abs=3)


def test_a_healthy_network_is_left_alone(text: Any) -> None:
    model = text(HEALTHY, SIGNAL, "float[] y", f"{FILTERS}, float[3,6,3] v")
    samples = [{"x": np.random.default_rng(seed).standard_normal((1, 1, 64)).astype(np.float32)} for seed in range(8)]
    assert found_in(model, samples) == Widened()


def test_formats_that_somebody_asked_for_stay(text: Any) -> None:
    model, samples = text(LOGARITHM, SIGNAL, "float[] y", WEIGHTS, {"tiny": 1e-6}), loudness()
    assert found_in(model, samples, QuantizeOptions(activations=INT16)) == Widened()
    fixed = {name: NodeFormat(activations=INT16) for name in found_in(model, samples).nodes}
    assert not fixed.keys() & found_in(model, samples, QuantizeOptions(nodes=fixed)).nodes.keys()


def test_integer_results_alone_measure_nothing(text: Any) -> None:
    model = text("c = Conv (x, w)\n y = ArgMax <axis = 1> (c)", SIGNAL, "int64[] y", FILTERS)
    assert found_in(model, loudness()) == Widened()
