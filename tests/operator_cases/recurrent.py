"""Recurrent networks."""

from __future__ import annotations

from operator_cases.case import Case

SEQUENCE = "float[5,1,3] x"
LSTM = "float[1,16,3] w, float[1,16,4] r, float[1,32] b"
GRU = "float[1,12,3] w, float[1,12,4] r, float[1,24] b"
RNN = "float[1,4,3] w, float[1,4,4] r, float[1,8] b"


def recurrent(body: str, weights: str, inputs: str = SEQUENCE, outputs: str = "float[] y", steps: int = 1) -> Case:
    """steps: what rounding inside the loop, which the quantized model does not do, may move an answer.

    What goes into a tanh is rounded by up to 4 / 2**15, and into a sigmoid by 8 / 2**15, which moves them by 4 and 2
    steps of an int16 state. Every step of the sequence adds that, and its weights enlarge or shrink what is there, so
    that no bound follows that says much: these are off by 9 at most.
    """
    return Case(body, inputs, weights, outputs=outputs, steps=steps, int16_steps=10)


RECURRENT = {
    "lstm": recurrent("y = LSTM <hidden_size = 4> (x, w, r, b)", LSTM),
    "last state of an lstm without bias": recurrent(
        "o, y = LSTM <hidden_size = 4> (x, w, r)", "float[1,16,3] w, float[1,16,4] r"
    ),
    "lstm both ways, of a batch, with peepholes": recurrent(
        'y, yh, yc = LSTM <hidden_size = 4, direction = "bidirectional"> (x, w, r, b, , , , p)',
        "float[2,16,3] w, float[2,16,4] r, float[2,32] b, float[2,12] p",
        "float[5,2,3] x",
        "float[] y, float[] yh, float[] yc",
    ),
    "coupled lstm, clipped": recurrent("y = LSTM <hidden_size = 4, input_forget = 1, clip = 1.5> (x, w, r, b)", LSTM),
    "gru": recurrent("y, h = GRU <hidden_size = 4> (x, w, r, b)", GRU, outputs="float[] y, float[] h"),
    "gru back, linear before reset": recurrent(
        'y = GRU <hidden_size = 4, direction = "reverse", linear_before_reset = 1> (x, w, r, b)', GRU
    ),
    "gru of hard sigmoids": recurrent(
        'y = GRU <hidden_size = 4, activations = ["HardSigmoid", "Tanh"]> (x, w, r, b)', GRU
    ),
    "rnn": recurrent("y = RNN <hidden_size = 4> (x, w, r, b)", RNN),
}
