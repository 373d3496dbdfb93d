"""The report as a person reads it in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bevel.tools.report import Accuracy, Assignment, Device, KernelCost, Measurement, Node, Report, Width

SHORT_LIST = 5
KIND = {
    "simulator": "simulator (instructions, not cycles)",
    "host": "this machine",
    "board": "board",
}


def show_report(console: Console, report: Report, warnings: Sequence[str] = ()) -> None:
    """The tables at the end of a run."""
    show_facts(console, report)
    if report.assignment is not None:
        show_assignment(console, report.assignment, report.size.flash_bytes)
    if report.widths:
        show_widths(console, report.widths)
    show_worst(console, report)
    if report.measurement and (costly := most_expensive(report.measurement)):
        show_kernels(console, "Most expensive nodes", costly, report.measurement)
    show_stages(console, report)
    show_warnings(console, warnings)


def show_warnings(console: Console, warnings: Sequence[str]) -> None:
    for warning in warnings:
        console.print(f"[bold red]{escape(warning)}[/]")


def show_notes(console: Console, nodes: Iterable[Node]) -> None:
    for node in nodes:
        for note in node.notes:
            op = f" ({node.op})" if node.op else ""
            console.print(f"[bold]{escape(node.name)}[/]{op}: {escape(note)}", highlight=False, soft_wrap=True)


def worst_nodes(nodes: Iterable[Node]) -> list[Node]:
    """The five nodes that lost most, worst first; those that lost nothing are not among them."""
    lossy = [node for node in nodes if node.sqnr_db is not None]
    return sorted(lossy, key=lambda node: (node.sqnr_db or 0.0, node.name))[:SHORT_LIST]


def most_expensive(measurement: Measurement) -> list[KernelCost]:
    """The five kernel calls that cost most, in what the device counts."""
    return sorted(measurement.per_kernel, key=_cost, reverse=True)[:SHORT_LIST]


def _cost(kernel: KernelCost) -> float:
    return float(kernel.instructions if kernel.instructions is not None else kernel.latency_s or 0.0)


def show_facts(console: Console, report: Report) -> None:
    rows = [*_accuracy_rows(report.accuracy), *_size_rows(report), *_measured_rows(report)]
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
        counted = ("" if count is None else f"{count:,}" for count in (one.mismatches, one.instructions))
        table.add_row(str(one.bits), percent(one.top1), decibels(one.sqnr_db), *counted, seconds(one.latency_s))
    _show(console, "The same product at fewer bits", table)


def show_assignment(console: Console, chosen: Assignment, flash: int) -> None:
    """What a search chose for each node, what was asked for, and one format everywhere beside it."""
    table = Table("node", "weights")
    for name in ("bytes", "takes"):
        table.add_column(name, justify="right")
    for node in chosen.nodes:
        table.add_row(escape(node.node), node.weights, f"{node.flash_bytes:,}", f"{node.takes_db:.2f} dB")
    _show(console, "Formats chosen", table)
    table = Table("weights")
    for name in ("flash", f"SQNR on {chosen.samples} calibration samples"):
        table.add_column(name, justify="right")
    for one in chosen.uniform:
        table.add_row(f"{one.weights} everywhere", in_bytes(one.flash_bytes), decibels(one.sqnr_db))
    table.add_row("as chosen", in_bytes(flash), decibels(chosen.sqnr_db))
    _show(console, "Beside one format everywhere", table)
    rows = [(one.option, f"{_number(one.limit)}, has {_number(one.measured)} ({one.unit})") for one in chosen.budgets]
    if (found := chosen.answers) is not None:
        changed = f"{found.lost} lost, {found.gained} gained of {found.labelled}"
        rows.append(("answers beside float", f"{changed}; standard error {100 * found.error:.2f} points"))
    _show_pairs(console, "Budgets", rows)


def _number(value: float | None) -> str:
    return "nothing" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def show_kernels(console: Console, title: str, kernels: Sequence[KernelCost], measurement: Measurement) -> None:
    """One row a kernel call; instructions or seconds, whichever the device counts, and its share of the sum."""
    if not kernels:
        return
    counted = any(kernel.instructions is not None for kernel in measurement.per_kernel)
    total = sum(_cost(kernel) for kernel in measurement.per_kernel) or 1.0
    table = Table("node", "kernel")
    for name in ("MACs", "instructions" if counted else "seconds", "share", "per MAC" if counted else "GMAC/s"):
        table.add_column(name, justify="right")
    for kernel in kernels:
        amount = f"{kernel.instructions:,}" if kernel.instructions is not None else seconds(kernel.latency_s)
        share = percent(_cost(kernel) / total)
        table.add_row(escape(kernel.node), escape(kernel.kernel), f"{kernel.macs:,}", amount, share, _rate(kernel))
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
    rows = _device_rows(report.device, report.measurement)
    if report.converted:
        rows.append(("not counted", f"the conversion between float and integers of {', '.join(report.converted)}"))
    return rows


def _accuracy_rows(accuracy: Accuracy | None) -> list[tuple[str, str]]:
    if accuracy is None:
        return [("accuracy", "not measured: give samples with --eval")]
    rows = [("samples", f"{accuracy.samples}")]
    if accuracy.top1_float is not None:
        names = ("top-1 float", "top-1 quantized", "top-1 integer")
        values = (accuracy.top1_float, accuracy.top1_quantized, accuracy.top1_integer)
        rows += [(name, percent(value)) for name, value in zip(names, values, strict=True)]
    rows.append(("SQNR, integer to float", decibels(accuracy.sqnr_db)))
    if accuracy.agreement is not None:
        rows.append(("same answer as float", percent(accuracy.agreement)))
    return rows


def _size_rows(report: Report) -> list[tuple[str, str]]:
    size = report.size
    return [
        ("float model", in_bytes(size.float_bytes)),
        ("quantized model", in_bytes(size.quantized_bytes)),
        ("flash", f"{in_bytes(size.flash_bytes)}, of it weights {in_bytes(size.weights_bytes)}"),
        ("RAM", f"{in_bytes(size.ram_bytes)}, of it arena {in_bytes(size.arena_bytes)}"),
    ]


def _device_rows(device: Device, measurement: Measurement) -> list[tuple[str, str]]:
    rows = [
        ("device", f"{device.name}: {KIND[device.kind]}, {device.tool}"),
        ("outputs", f"{measurement.inputs} inputs, {measurement.mismatches} elements differ from integer.onnx"),
    ]
    if measurement.instructions is not None:
        rows.append(("instructions", f"{measurement.instructions:,} for one inference"))
    if measurement.latency_s is not None:
        rows.append(("latency", seconds(measurement.latency_s)))
    if measurement.estimate is not None:
        guess = measurement.estimate
        time = f"{seconds(guess.latency_s)} at {guess.clock_hz / 1e6:.0f} MHz"
        rows.append(("estimate", f"{guess.cycles:,} cycles, {time}: not measured; {guess.model}, no wait states"))
    return rows


def _rate(kernel: KernelCost) -> str:
    if not kernel.macs:
        return ""
    if kernel.instructions is not None:
        return f"{kernel.instructions / kernel.macs:.2f}"
    return f"{kernel.macs / kernel.latency_s / 1e9:.2f}" if kernel.latency_s else ""


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f} %"


def decibels(value: float | None) -> str:
    return "no error" if value is None else f"{value:.2f} dB"


def seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value * 1e3:.3f} ms" if value >= 1e-3 else f"{value * 1e6:.2f} us"


def in_bytes(count: int) -> str:
    return f"{count:,} bytes"
