"""A model run step after step, each from the states that its own step before left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]
Values = Mapping[str, Array]


class RunsModel(Protocol):
    """What runs a model once: all inputs to all outputs."""

    def run(self, sample: Values) -> dict[str, Array]: ...

    def run_raw(self, sample: Values) -> dict[str, Array]: ...


@dataclass
class Stepper:
    """`states`: {input: the output that it is in the next step}; `results`: the outputs that are given."""

    runner: RunsModel
    states: Mapping[str, str]
    results: Sequence[str]
    held: dict[str, Array] = field(default_factory=dict)

    def run(self, sample: Values, begins: bool) -> dict[str, Array]:
        """Real values. `begins`: whether the states are the sample's own."""
        return self.kept(self.runner.run(self.given(sample, begins)))

    def run_raw(self, sample: Values, begins: bool) -> dict[str, Array]:
        """What the ports carry."""
        return self.kept(self.runner.run_raw(self.given(sample, begins)))

    def given(self, sample: Values, begins: bool) -> Values:
        return sample if begins else {**sample, **self.held}

    def kept(self, outputs: Values) -> dict[str, Array]:
        self.held = {into: outputs[out] for into, out in self.states.items()}
        return {name: outputs[name] for name in self.results}
