"""The report as a person reads it in a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bevel.backends.program.program import TAKEN, THREADS
from bevel.backends.program.resources import SECONDS, Resource, Resources, told
from bevel.passes.base import FLOAT_KINDS
from bevel.tools.report.answers import CONFIDENCE
from bevel.tools.report.report import (
    MEASURED,
    Assignment,
    Device,
    KernelCost,
    Measurement,
    Metric,
    Node,
    Note,
    Report,
    Width,
)
from bevel.tools.report.sentences import compared_with, larger

SHORT_LIST = 5
PLAIN: Any = {"highlight": False, "markup": False, "soft_wrap": True}
SHOWN = ("top1", "sqnr")  # metrics that have rows of their own in any case
LEAST_DB = -200.0  # of infinity, and of noise where there is no signal
LOGIC = (Resource.LUT, Resource.FF, Resource.DSP, Resource.BRAM)
PARTS = {  # what is a part of what
    Resource.WEIGHTS: Resource.FLASH,
    Resource.ARENA: Resource.RAM,
    Resource.STATE: Resource.ARENA,
    Resource.STACK: Resource.RAM,
    Resource.STATIC: Resource.RAM,
}
KIND = {
    "simulator": "simulator (instructions, not cycles)",
    "host": "this machine",
    "board": "board",
}


def show_report(console: Console, report: Report, warnings: Sequence[str] = (), output: Path | None = None) -> None:
    """The tables at the end of a run; `output`: where its bundle is."""
    show_facts(console, report)
    if len(report.outputs) > 1:
        show_outputs(console, report)
    if report.assignment is not None:
        show_assignment(console, report.assignment, report.size.product)
    if report.widths:
        show_widths(console, report.widths)
    show_worst(console, report)
    if report.measurement and (costly := most_expensive(report.measurement)):
        show_kernels(console, "Most expensive nodes", costly, report.measurement)
    show_stages(console, report)
    show_terms(console, report)
    show_warnings(console, warnings)
    if output is not None:
        show_next(console, output, report)


def show_warnings(console: Console, warnings: Sequence[str]) -> None:
    for warning in warnings:
        console.print(f"[bold red]{escape(warning)}[/]", soft_wrap=True)


def show_terms(console: Console, report: Report) -> None:
    """What the words of the tables mean, a line each."""
    told = {"SQNR": "power of the float model's output over power of the error: 20 dB is an error of 10 %, 40 dB 1 %"}
    if report.accuracy is not None and report.accuracy.top1_float is not None:
        of = f", which belongs to output {report.accuracy.labels}" if len(report.outputs) > 1 else ""
        told["top-1"] = f"share of samples whose answer is the label{of}"
    if report.accuracy is not None and report.accuracy.agreement is not None:
        told["agreement"] = "share of samples with the same answer as the float model"
    if report.accuracy is not None and report.accuracy.answers is not None:
        told["in brackets"] = f"where the true figure lies with {CONFIDENCE} confidence, as far as samples can tell"
    if report.accuracy is not None and (found := report.accuracy.metric) is not None and found.name not in SHOWN:
        told[found.name] = f"{found.told}; {found.better} is better"
    if report.measurement is not None and report.measurement.per_kernel:
        told["share"] = "of all that one inference takes; MACs: multiplications with an addition"
    console.print()
    for name, text in told.items():
        console.print(f"[bold]{name}[/]: {text}", highlight=False, soft_wrap=True)


def show_next(console: Console, output: Path, report: Report) -> None:
    """Where the product is, and what to do with it."""
    names = [name.removeprefix("lib").removesuffix(".a") for name in report.files if name.endswith(".a")]
    header = f", {names[0]}.h tells how to call it" if names else ""
    console.print(f"\nThe product is in {output}{header}. Next: bevel inspect {shlex.quote(str(output))}", **PLAIN)


def show_outputs(console: Console, report: Report) -> None:
    """The outputs beside each other, or their parts."""
    outputs = report.outputs
    titles = ["output", *(["part"] if any(one.part for one in outputs) else [])]
    table = Table(*titles)
    answers = any(one.agreement is not None for one in outputs)
    for title in ("SQNR integer", "SQNR quantized", *(["agreement"] if answers else [])):
        table.add_column(title, justify="right")
    for one in outputs:
        names = [escape(one.name), escape(one.part or "")][: len(titles)]
        numbers = ["", ""] if one.values is None else [decibels(one.sqnr_db), decibels(one.quantized_sqnr_db)]
        table.add_row(*names, *numbers, *([percent(one.agreement)] if answers else []))
    where = "" if report.accuracy is not None else " on calibration samples"
    _show(console, f"Outputs against the float model{where}", table)


def show_notes(console: Console, nodes: Iterable[Node]) -> None:
    for node in nodes:
        op = f" ({node.op})" if node.op else ""
        for note in (*map(said, node.notes), *chosen_kernel(node)):
            console.print(f"[bold]{escape(node.name)}[/]{op}: {escape(note)}", highlight=False, soft_wrap=True)


def said(note: Note) -> str:
    return f"stays float: {note.text}" if note.kind in FLOAT_KINDS else note.text


def chosen_kernel(node: Node) -> Iterator[str]:
    """How the node came by its kernel, in a sentence."""
    taken = [f" ({one.rule}: about {told(one.estimate)})" for one in node.rules if one.answer == TAKEN]
    others = [f"{one.rule}: {one.answer}" for one in node.rules if one.answer != TAKEN and one.rule != THREADS]
    runs = [f" in {one.answer}" for one in node.rules if one.rule == THREADS]
    if node.rules:
        yield f"computed by {node.kernel}{''.join(taken + runs)}; not taken: {'; '.join(others)}"


def worst_nodes(nodes: Iterable[Node]) -> list[Node]:
    """The five nodes that lost most, worst first; those that lost nothing are not among them."""
    lossy = [node for node in nodes if node.sqnr_db is not None]
    return sorted(lossy, key=lambda node: (node.sqnr_db or 0.0, node.name))[:SHORT_LIST]


def most_expensive(measurement: Measurement) -> list[KernelCost]:
    """The five kernel calls that cost most, in what the device counts."""
    return sorted(measurement.per_kernel, key=_cost, reverse=True)[:SHORT_LIST]


def _cost(kernel: KernelCost) -> float:
    return next(iter(kernel.spent.only(*MEASURED).values()), 0.0)


def show_facts(console: Console, report: Report) -> None:
    rows = [*_accuracy_rows(report), *_size_rows(report), *_measured_rows(report)]
    _show_pairs(console, f"{report.model.file} on {report.target}", rows)


def show_measurement(console: Console, device: Device, measurement: Measurement) -> None:
    _show_pairs(console, "Measurement", _device_rows(device, measurement))
    show_kernels(console, f"Kernels on {device.name}", measurement.per_kernel, measurement)


def show_worst(console: Console, report: Report) -> None:
    table = Table("node", "op", "format")
    table.add_column("SQNR", justify="right")
    for node in worst_nodes(report.nodes):
        table.add_row(escape(node.name), node.op, node.format or "", decibels(node.sqnr_db))
    if table.row_count:
        _show(console, "Worst nodes by SQNR", table)


def show_widths(console: Console, widths: Iterable[Width]) -> None:
    table = Table("bits")
    for title in ("top-1", "SQNR", "elements that differ", "instructions", "seconds"):
        table.add_column(title, justify="right")
    for one in widths:
        spent = one.spent.get(Resource.INSTRUCTIONS), one.spent.get(Resource.LATENCY)
        counted = ("" if count is None else f"{count:,}" for count in (one.mismatches, spent[0]))
        table.add_row(str(one.bits), percent(one.top1), decibels(one.sqnr_db), *counted, seconds(spent[1]))
    _show(console, "The same product at fewer bits", table)


def show_assignment(console: Console, chosen: Assignment, product: Resources) -> None:
    """What a search chose for each node, what was asked for, and one format everywhere beside it."""
    table = Table("node", "", "format")
    for name in ("bytes", "takes"):
        table.add_column(name, justify="right")
    for node in chosen.nodes:
        taken = f"{node.bytes:,} of {node.memory}"
        table.add_row(escape(node.node), node.part, node.format, taken, f"{node.takes_db:.2f} dB")
    _show(console, "Formats chosen", table)
    table = Table("formats")
    for name in ("flash", "RAM", f"SQNR on {chosen.samples} calibration samples"):
        table.add_column(name, justify="right")
    for one in chosen.uniform:
        table.add_row(one.formats, in_bytes(one.flash_bytes), in_bytes(one.ram_bytes), decibels(one.sqnr_db))
    sizes = in_bytes(product[Resource.FLASH]), in_bytes(product[Resource.RAM])
    table.add_row("as chosen", *sizes, decibels(chosen.sqnr_db))
    _show(console, "Beside one format everywhere", table)
    rows = [(one.option, f"{_number(one.limit)}, has {_number(one.measured)} ({one.unit})") for one in chosen.budgets]
    _show_pairs(console, "Budgets", rows)


def _number(value: float | None) -> str:
    return "nothing" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def show_kernels(console: Console, title: str, kernels: Sequence[KernelCost], measurement: Measurement) -> None:
    """One row a kernel call; instructions or seconds, whichever the device counts, and its share of the sum."""
    if not kernels:
        return
    counted = any(Resource.INSTRUCTIONS in kernel.spent for kernel in measurement.per_kernel)
    total = sum(_cost(kernel) for kernel in measurement.per_kernel) or 1.0
    table = Table("node", "kernel")
    for name in ("MACs", "instructions" if counted else "seconds", "share", "per MAC" if counted else "GMAC/s"):
        table.add_column(name, justify="right")
    for kernel in kernels:
        count, macs = kernel.spent.get(Resource.INSTRUCTIONS), kernel.spent[Resource.MACS]
        amount = f"{count:,}" if count is not None else seconds(kernel.spent.get(Resource.LATENCY))
        share = percent(_cost(kernel) / total)
        table.add_row(escape(kernel.node), escape(kernel.kernel), f"{macs:,}", amount, share, _rate(kernel))
    _show(console, title, table)


def show_stages(console: Console, report: Report) -> None:
    total = sum(stage.seconds for stage in report.stages)
    rows = [(stage.name, f"{stage.seconds:.2f} s") for stage in report.stages]
    _show_pairs(console, f"Where the time went: {total:.1f} s", rows)


def _show(console: Console, title: str, table: Table) -> None:
    console.print(f"\n[bold]{escape(title)}[/]", highlight=False, soft_wrap=True)
    console.print(table)


def _show_pairs(console: Console, title: str, rows: Iterable[tuple[str, str]]) -> None:
    table = Table(show_header=False)
    for name, text in rows:
        table.add_row(name, escape(text))
    _show(console, title, table)


def _measured_rows(report: Report) -> list[tuple[str, str]]:
    if report.device is None or report.measurement is None:
        return [("device", "not measured")]
    what = "step" if report.size.product.get(Resource.STATE) else "inference"
    rows = _device_rows(report.device, report.measurement, what)
    if report.converted:
        rows.append(("not counted", f"the conversion between float and integers of {', '.join(report.converted)}"))
    return rows


def _accuracy_rows(report: Report) -> list[tuple[str, str]]:
    accuracy = report.accuracy
    if accuracy is None:
        return [("accuracy", "not measured: give samples with --eval")]
    rows = [("samples", f"{accuracy.samples}")]
    if accuracy.top1_float is not None:
        names = ("top-1 float", "top-1 quantized", "top-1 integer")
        values = (accuracy.top1_float, accuracy.top1_quantized, accuracy.top1_integer)
        rows += [(name, percent(value)) for name, value in zip(names, values, strict=True)]
    rows += _metric_rows(accuracy.metric)
    worst = ", worst output" if len(report.outputs) > 1 else ""
    if accuracy.sqnr_db is not None or any(one.values is not None for one in report.outputs):
        rows.append((f"SQNR, integer to float{worst}", decibels(accuracy.sqnr_db)))
    if accuracy.agreement is not None:
        interval = accuracy.agreement_interval
        between = "" if interval is None else f" ({percent(interval[0])} to {percent(interval[1])})"
        rows.append(("agreement with float", f"{percent(accuracy.agreement)}{between}"))
    if accuracy.answers is not None:
        rows.append(("answers beside float", accuracy.answers.told()))
    if report.step is not None:
        spent = None if report.measurement is None else report.measurement.spent
        rows += report.step.rows(spent)
    if report.transforms:
        rows.append(("transforms", "; ".join(f"{one.transform} at {one.sites}" for one in report.transforms)))
    return rows + _library_rows(report)


def _metric_rows(found: Metric | None) -> list[tuple[str, str]]:
    """Of what was asked for, beside top-1 and SQNR."""
    if found is None or found.name in SHOWN:
        return []
    values = (("float", found.float_), ("quantized", found.quantized), ("integer", found.integer))
    return [(f"{found.name} {model}", figure(value, found.unit)) for model, value in values]


def figure(value: float | None, unit: str) -> str:
    if value is None:
        return "infinite"
    return percent(value) if unit == "share" else f"{value:.5g} {unit}".rstrip()


def _library_rows(report: Report) -> list[tuple[str, str]]:
    """What the library itself computes, where that is not integer.onnx bit for bit."""
    found = report.library
    if found is None:
        return []
    told = [f"{found.samples} samples"]
    if found.top1 is not None:
        told.append(f"top-1 {percent(found.top1)}")
    if any(one.values is not None for one in report.outputs):
        told += [f"SQNR to float {decibels(found.sqnr_db)}", f"to integer.onnx {decibels(found.integer_db)}"]
    if found.agreement is not None:
        told.append(f"agreement {percent(found.agreement)}")
    return [("the library itself", ", ".join(told))]


def _size_rows(report: Report) -> list[tuple[str, str]]:
    size = report.size
    return [
        ("float model", in_bytes(size.float_bytes)),
        ("quantized model", f"{in_bytes(size.quantized_bytes)}{larger(size)}"),
        *((taken(name), amount_of(name, size.product)) for name in size.product if name not in PARTS),
        *(
            []
            if report.resources is None
            else [(f"{report.resources.tool}, {report.resources.part}", report.resources.told)]
        ),
    ]


def taken(name: Resource) -> str:
    """What a resource is called that a product takes: programmable logic is estimated before it is synthesized."""
    return f"{name.label}, estimated" if name in LOGIC else name.label


def amount_of(name: Resource, product: Resources) -> str:
    """'4,000 bytes, of it weights 3,000': an amount, and those of its parts that there is something of."""
    parts = parts_of(name, product)
    unit = f" {name.unit}".rstrip()
    return f"{product[name]:,}{unit}" + (f", of it {', '.join(parts)}" if parts else "")


def parts_of(name: Resource, product: Resources) -> list[str]:
    """Each with its own parts behind it: 'arena 4,096 (state 128)'."""
    found = []
    for one, whole in PARTS.items():
        if whole == name and product.get(one):
            inner = parts_of(one, product)
            found.append(f"{one.label} {product[one]:,}" + (f" ({', '.join(inner)})" if inner else ""))
    return found


def _device_rows(device: Device, measurement: Measurement, what: str = "run") -> list[tuple[str, str]]:
    rows = [
        ("device", f"{device.name}: {KIND[device.kind] if measurement.cycles is None else device.kind}, {device.tool}"),
        ("outputs", compared_with(measurement)),
    ]
    for name, amount in measurement.spent.items():
        timed = name.unit == SECONDS
        rows.append((name.label, seconds(amount) if timed else f"{amount:,} for one {what}"))
    if (found := measurement.cycles) is not None:
        first, steady = (
            f"{one:,} for one frame, {other:,} by the model"
            for one, other in (
                (found.first_frame, found.model_first_frame),
                (found.steady_state, found.model_steady_state),
            )
        )
        rows += [("cycles, simulated: in to out", first), ("from frame to frame", steady)]
    if measurement.estimate is not None:
        guess = measurement.estimate
        time = f"{seconds(guess.latency_s)} at {guess.clock_hz / 1e6:.0f} MHz"
        rows.append(("estimate", f"{guess.cycles:,} cycles, {time}: not measured; {guess.model}, no wait states"))
    return rows


def _rate(kernel: KernelCost) -> str:
    macs, latency_s = kernel.spent[Resource.MACS], kernel.spent.get(Resource.LATENCY)
    if not macs:
        return ""
    if Resource.INSTRUCTIONS in kernel.spent:
        return f"{kernel.spent[Resource.INSTRUCTIONS] / macs:.2f}"
    return f"{macs / latency_s / 1e9:.2f}" if latency_s else ""


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f} %"


def decibels(value: float | None) -> str:
    if value is None:
        return "no error"
    return "nothing left" if value <= LEAST_DB else f"{value:.2f} dB"


def seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value * 1e3:.3f} ms" if value >= 1e-3 else f"{value * 1e6:.2f} us"


def in_bytes(count: float) -> str:
    return f"{count:,} bytes"
