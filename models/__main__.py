"""Print the table of README.md: each reference network's float32 size and accuracy, counted now."""

from __future__ import annotations

from math import prod

import onnx

from bevel.models import digits, names, path

HEADER = ("| network | file, bytes | float constants | top-1 on `eval` |", "|---|---|---|---|")


def row(name: str, samples: digits.DigitSamples) -> str:
    """The table's line about the network `name`, judged on `samples`."""
    file = path(name)
    constants = onnx.load(file).graph.initializer
    floats = sum(prod(one.dims) for one in constants if one.data_type == onnx.TensorProto.FLOAT)
    right, total = digits.correct(file, samples), len(samples.y)
    return f"| `{name}` | {file.stat().st_size} | {floats} | {right} of {total} = {100 * right / total:.1f} % |"


def table() -> str:
    """The whole table, in Markdown."""
    samples = digits.load("eval")
    return "\n".join([*HEADER, *(row(name, samples) for name in names())])


if __name__ == "__main__":
    print(table())
