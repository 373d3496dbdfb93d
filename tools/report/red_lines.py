"""What is red in a report: what to know before a result is used, in one line each."""

from __future__ import annotations

from bevel.tools.accuracy.broken import LOW_SAME, is_broken, is_told
from bevel.tools.accuracy.library import is_wrong
from bevel.tools.report import report, tables
from bevel.tools.run.data import GUESS
from bevel.tools.run.options import Options

FLOAT = "float32"  # the format of nodes without an integer form, and of what stands at float ports:
PORTS = ("QuantizeLinear", "DequantizeLinear")
NO_REMEDY = "no option is known to mend it"
WRONG_LIBRARY = "the library computes something else than integer.onnx, beyond tipped roundings: this is a bug of Bevel"
ISLANDS = "some nodes run in float, whose last bits depend on the machine (-v: which nodes)"


def warnings(options: Options, told: report.Report) -> list[str]:
    found = []
    if options.calib == "random":
        found.append(f"{GUESS}; give real samples with --calib FILE")
    if told.accuracy is not None and told.accuracy.labels_unused is not None:
        found.append(f"no top-1: {told.accuracy.labels_unused}")
    if runs_in_float(told):
        found.append(ISLANDS)
    if wrong_library(told):
        found.append(WRONG_LIBRARY)
    if wrong := wrong_elements(told):
        found.append(f"{wrong} output elements differ from integer.onnx: no cost is reported")
    return found + [told_output(one, told) for one in told.outputs if is_told(one)]


def told_output(one: report.OutputFigures, told: report.Report) -> str:
    """What became of an output, where it was lost first, and what would help."""
    facts = []
    if one.nonfinite:
        facts.append(f"{one.nonfinite:,} elements are infinite or NaN")
    elif one.sqnr_db is not None:
        facts.append(f"SQNR {tables.decibels(one.sqnr_db)}")
    if one.values is not None and one.float_values is not None and one.values < one.float_values:
        few = f"{one.values} values" if one.values != 1 else "one value"
        facts.append(f"only {few} left of those that float has")
    if one.agreement is not None and one.agreement < LOW_SAME:
        facts.append(f"the answer of the float model on only {100 * one.agreement:.0f} % of the samples")
    if (node := next((node for node in told.nodes if node.name == one.broke_at), None)) is not None:
        at = f" at {tables.decibels(node.sqnr_db)}" if node.sqnr_db is not None else ""
        facts.append(f"first lost in {node.name} ({node.op}){at}")
    elif one.broke_at is not None:
        facts.append(f"first lost in the input {one.broke_at}")
    part = f", part {one.part}" if one.part is not None else ""
    became = "is not usable" if is_broken(one) else "is coarse"
    return f"output {one.name}{part} {became}: {', '.join(facts)}; {one.helps or NO_REMEDY}"


def wrong_library(told: report.Report) -> bool:
    return told.library is not None and is_wrong(told.library)


def wrong_elements(told: report.Report) -> int:
    """At every width."""
    return sum((one.mismatches or 0) for one in (told.measurement, *told.widths) if one is not None)


def runs_in_float(told: report.Report) -> bool:
    return any((node.format or "").endswith(FLOAT) and node.op not in PORTS for node in told.nodes)
