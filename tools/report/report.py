"""report.json: the contract that other programs read. Its keys are the fields below; nothing else is in it.

A value that was not measured is null. Instructions of a simulator and seconds of a board or host never share a field.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bevel.backends.binary.synthesized import Synthesized
from bevel.backends.devices.cycles import FrameCycles
from bevel.backends.program.resources import NOTHING, Resource, Resources, from_keyed
from bevel.calib.errors import UserError
from bevel.passes.transform.record import Flatness, TensorFlatness, TransformRecord
from bevel.tools.report.answers import Answers
from bevel.tools.report.step import Step, step_from

NAME = "report.json"
SCHEMA = 3  # counts up when a key goes or changes its meaning; 2 had answers, and formats of weights, in `assignment`


@dataclass(frozen=True)
class Model:
    file: str  # without its folder
    sha256: str


@dataclass(frozen=True)
class Accuracy:
    """Over all `samples` of the --eval file. The top-1 fractions are None where the data has no class index `y`. SQNR
    and agreement are those of the worst output, or part of one (`OutputFigures`)."""

    samples: int
    top1_float: float | None
    top1_quantized: float | None
    top1_integer: float | None
    sqnr_db: float | None  # integer against float; None where not one element differs
    agreement: float | None  # fraction of samples with the same answer, integer and float; None without answers
    quantized_sqnr_db: float | None = None  # quantized against float
    labels: str | None = None  # the output that `y` belongs to
    labels_unused: str | None = None  # why integers in `y` are no classes
    metric: Metric | None = None
    answers: Answers | None = None  # of the integer model beside the float one; None without labels
    agreement_interval: tuple[float, float] | None = None  # of 95 %; None where samples have several answers


@dataclass(frozen=True)
class Metric:
    """What the models are judged by (`--metric`), in `unit`: the figure of each, None where it is infinite, or SQNR
    without any error. better: higher or lower; share: from 0 to 1; told: what was compared with what."""

    name: str
    unit: str
    better: str
    share: bool
    float_: float | None
    quantized: float | None
    integer: float | None
    told: str


@dataclass(frozen=True)
class OutputFigures:
    """One output against the float model's, or one `part` of it: what came into the last Concat. SQNR as in `Accuracy`,
    -200 where it is infinite or NaN; None for class numbers too. values: distinct ones, counted up to 4; nonfinite:
    elements that are infinite or NaN and should not be. Of a broken one: the node that lost it, and what helps."""

    name: str
    part: str | None
    sqnr_db: float | None
    quantized_sqnr_db: float | None
    agreement: float | None
    values: int | None
    float_values: int | None
    nonfinite: int
    broke_at: str | None = None
    helps: str | None = None


@dataclass(frozen=True)
class Library:
    """What the library computes, where float kernels may differ from integer.onnx: on `samples` of --eval, or of
    --calib. integer_db: SQNR against integer.onnx, None where not one element differs; far: of so many `runs`, those
    that differ by more than tipped roundings. The rest as in `Accuracy`."""

    samples: int
    top1: float | None
    sqnr_db: float | None
    agreement: float | None
    integer_db: float | None
    runs: int
    far: int


@dataclass(frozen=True)
class Size:
    """Bytes of the model files, and what the product takes: in report.json by `Resource.key`, such as flash_bytes."""

    float_bytes: int
    quantized_bytes: int
    product: Resources


@dataclass(frozen=True)
class Device:
    name: str
    kind: str  # board, simulator or host
    tool: str


@dataclass(frozen=True)
class KernelCost:
    """`spent`: its MACs, and what was measured."""

    node: str
    kernel: str
    spent: Resources


@dataclass(frozen=True)
class Estimate:
    """Computed, not measured: cycles by the timing model named, and seconds at that clock."""

    cycles: int
    clock_hz: int
    latency_s: float
    model: str


@dataclass(frozen=True)
class Measurement:
    """Of one inference, the median over `inputs`. With mismatches above 0 nothing is `spent`. rounded: where nodes run
    in float, output elements that differ from integer.onnx though all equal the kernels' references bit for bit."""

    inputs: int
    mismatches: int
    spent: Resources
    per_kernel: tuple[KernelCost, ...]
    estimate: Estimate | None = None
    cycles: FrameCycles | None = None  # of a streaming design
    rounded: int = 0


@dataclass(frozen=True)
class AskedRule:
    """A rule for a kernel of this target, and its answer: "taken", or why its kernel does not apply, or was not taken.
    estimate: what a call of its kernel would spend, and the bytes of its constants; nothing of it was measured."""

    rule: str
    answer: str
    estimate: Resources = NOTHING


@dataclass(frozen=True)
class Note:
    """One decision about a node. kind: one of `bevel.passes.base.Kind`; text: for people; numbers: what decided."""

    pass_: str
    kind: str
    text: str
    numbers: dict[str, float] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Node:
    """An operator of the float graph: what became of it, and what it lost. format and kernel are None if it is gone.
    rounder: who made codes of its weights; None where it has none, or came quantized."""

    name: str
    op: str
    format: str | None
    kernel: str | None
    sqnr_db: float | None
    notes: tuple[Note, ...]
    rules: tuple[AskedRule, ...] = ()  # all that were asked for its kernel: first the one that was taken
    rounder: str | None = None


@dataclass(frozen=True)
class Decision:
    """Why a node's weights, or its result, have their format. bytes: of its constants in flash, of its tensors in RAM;
    takes_db: how far SQNR falls by it alone, from that of the format that loses least there."""

    node: str
    part: str
    format: str
    bytes: int
    memory: str
    takes_db: float
    reason: str


@dataclass(frozen=True)
class UniformFormat:
    """One format at every node that could choose: the built product, and SQNR as in `Assignment`."""

    formats: str
    flash_bytes: int
    ram_bytes: int
    sqnr_db: float | None


@dataclass(frozen=True)
class Budget:
    """What was asked for and what the product has: bytes, instructions, seconds, fractions or dB, as `unit` says."""

    option: str
    limit: float
    measured: float | None
    unit: str


@dataclass(frozen=True)
class Assignment:
    """What a search for formats chose. SQNR: quantized against float, over `samples` of --calib that losses were not
    taken from, where there are enough."""

    sensitivity: str
    samples: int
    sqnr_db: float | None
    nodes: tuple[Decision, ...]
    uniform: tuple[UniformFormat, ...]
    budgets: tuple[Budget, ...] = ()


@dataclass(frozen=True)
class Width:
    """Weights of `bits` bits in a product that can change their width: as in `Accuracy` and `Measurement`."""

    bits: int
    top1: float | None
    sqnr_db: float | None
    mismatches: int | None  # None: not measured
    spent: Resources


@dataclass(frozen=True)
class StageTime:
    name: str
    seconds: float


@dataclass(frozen=True)
class Report:
    bevel: str  # the version that wrote it
    model: Model
    target: str
    recipe: str
    accuracy: Accuracy | None
    size: Size
    device: Device | None
    measurement: Measurement | None
    nodes: tuple[Node, ...]
    stages: tuple[StageTime, ...]
    files: dict[str, str]  # name: sha256 of every file of the bundle but report.json and manifest.json
    assignment: Assignment | None = None  # where budgets were given
    outputs: tuple[OutputFigures, ...] = ()  # on --eval, or without it on up to 32 samples of --calib
    library: Library | None = None  # where nodes run in float on this machine
    widths: tuple[Width, ...] = ()  # the narrower ones of a product that can change its width
    converted: tuple[str, ...] = ()  # float ports that are converted before and after what is counted
    transforms: tuple[TransformRecord, ...] = ()  # that were folded into the float graph, in order
    step: Step | None = None  # of one that computes what is new
    resources: Synthesized | None = None  # of programmable logic, by synthesis; what `size` has of it is an estimate
    schema: int = SCHEMA


MEASURED = (Resource.INSTRUCTIONS, Resource.LATENCY)  # null in report.json where it was not measured
_TOP1 = {"top1_float": "float", "top1_quantized": "quantized", "top1_integer": "integer"}  # `float` is a type in Python
_FLOAT = {"float_": "float"}
_PASS = {"pass_": "pass"}  # a keyword in Python


def to_json(report: Report) -> dict[str, Any]:
    fields: dict[str, Any] = flat(asdict(report))
    if fields["accuracy"] is not None:
        fields["accuracy"] = renamed(fields["accuracy"], _TOP1)
        if (metric := fields["accuracy"]["metric"]) is not None:
            fields["accuracy"]["metric"] = renamed(metric, _FLOAT)
    for node in fields["nodes"]:
        node["notes"] = [renamed(note, _PASS) for note in node["notes"]]
    return fields


def renamed(fields: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in fields.items()}


def flat(value: Any) -> Any:
    """What `asdict` gave, with `product` and `spent` replaced by the resources in them; an estimate stays apart."""
    if isinstance(value, Resources):
        return value.keyed()
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for name, one in value.items():
            measured = name in ("product", "spent") and isinstance(one, Resources)
            found |= one.keyed(*(MEASURED if name == "spent" else ())) if measured else {name: flat(one)}
        return found
    return [flat(one) for one in value] if isinstance(value, list | tuple) else value


def from_json(fields: dict[str, Any]) -> Report:
    """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for a report of another version."""
    if fields["schema"] != SCHEMA:
        raise ValueError(f"a report of schema {fields['schema']}, not {SCHEMA}")
    accuracy, device, measurement = fields["accuracy"], fields["device"], fields["measurement"]
    return Report(
        bevel=fields["bevel"],
        model=Model(**fields["model"]),
        target=fields["target"],
        recipe=fields["recipe"],
        accuracy=None if accuracy is None else _accuracy(accuracy),
        size=Size(fields["size"]["float_bytes"], fields["size"]["quantized_bytes"], from_keyed(fields["size"])),
        device=None if device is None else Device(**device),
        measurement=None if measurement is None else _measurement(measurement),
        nodes=tuple(_node(node) for node in fields["nodes"]),
        stages=tuple(StageTime(**stage) for stage in fields["stages"]),
        files=fields["files"],
        assignment=None if fields["assignment"] is None else _assignment(fields["assignment"]),
        outputs=tuple(OutputFigures(**output) for output in fields["outputs"]),
        library=None if fields["library"] is None else Library(**fields["library"]),
        widths=tuple(_width(width) for width in fields["widths"]),
        converted=tuple(fields["converted"]),
        transforms=tuple(map(_transform, fields["transforms"])),
        step=step_from(fields["step"]),
        resources=None if fields["resources"] is None else Synthesized(**fields["resources"]),
        schema=fields["schema"],
    )


def _accuracy(fields: dict[str, Any]) -> Accuracy:
    metric = fields["metric"]
    told = None if metric is None else Metric(**renamed(metric, {key: name for name, key in _FLOAT.items()}))
    interval = fields["agreement_interval"]
    given = {
        "metric": told,
        "answers": None if fields["answers"] is None else Answers(**fields["answers"]),
        "agreement_interval": None if interval is None else (interval[0], interval[1]),
    }
    return Accuracy(**renamed(fields, {key: name for name, key in _TOP1.items()}) | given)


def _node(fields: dict[str, Any]) -> Node:
    rules = tuple(AskedRule(one["rule"], one["answer"], from_keyed(one["estimate"])) for one in fields["rules"])
    notes = tuple(Note(one["pass"], one["kind"], one["text"], one["numbers"]) for one in fields["notes"])
    return Node(**fields | {"notes": notes, "rules": rules})


def _assignment(fields: dict[str, Any]) -> Assignment:
    return Assignment(
        **fields
        | {
            "nodes": tuple(Decision(**one) for one in fields["nodes"]),
            "uniform": tuple(UniformFormat(**one) for one in fields["uniform"]),
            "budgets": tuple(Budget(**one) for one in fields["budgets"]),
        }
    )


def _measurement(fields: dict[str, Any]) -> Measurement:
    kernels = tuple(KernelCost(cost["node"], cost["kernel"], from_keyed(cost)) for cost in fields["per_kernel"])
    guess = None if fields["estimate"] is None else Estimate(**fields["estimate"])
    cycles = None if fields["cycles"] is None else FrameCycles(**fields["cycles"])
    spent = from_keyed({name: value for name, value in fields.items() if name != "cycles"})
    return Measurement(fields["inputs"], fields["mismatches"], spent, kernels, guess, cycles)


def _width(fields: dict[str, Any]) -> Width:
    names = ("bits", "top1", "sqnr_db", "mismatches")
    return Width(**{name: fields[name] for name in names}, spent=from_keyed(fields))


def _transform(fields: dict[str, Any]) -> TransformRecord:
    tensors = (
        TensorFlatness(one["tensor"], Flatness(**one["before"]), Flatness(**one["after"])) for one in fields["tensors"]
    )
    return TransformRecord(**fields | {"tensors": tuple(tensors)})


def text(report: Report) -> str:
    return json.dumps(to_json(report), indent=2, allow_nan=False) + "\n"


def write(folder: Path, report: Report) -> None:
    (folder / NAME).write_text(text(report))


def read(folder: Path) -> Report:
    """The report of a bundle; UserError where there is none that this version can read."""
    try:
        return from_json(json.loads((folder / NAME).read_text()))
    except FileNotFoundError:
        raise UserError(f"{folder} has no {NAME}; give the folder that `optimize -o` wrote") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{folder / NAME} is not a report of this version of Bevel; run optimize again") from None
