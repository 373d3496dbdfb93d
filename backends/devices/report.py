"""What firmware says about the model it carries (firmware/report.h), from a simulator's output or a serial line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.binary.artifact import Artifact
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.image import Image
from bevel.backends.firmware.vectors import expected_crc

PROTOCOL = "1"


class FirmwareError(RuntimeError):
    """Firmware that did not run to its end, or whose report contradicts itself: our bug."""


@dataclass(frozen=True)
class FirmwareReport:
    """A complete report. `ticks` and `call_ticks` are the board's clock: a vector each, a kernel call each."""

    model: str
    vectors: int
    calls: int
    mismatches: int  # elements
    first_mismatch: dict[str, int] | None
    crc: int
    stack_bytes: int  # used
    stack_reserved: int
    ticks: tuple[int, ...]
    call_ticks: tuple[int, ...]


def is_last(line: str) -> bool:
    """Whether nothing follows this line."""
    return line.startswith(("end ", "fault "))


def parse(text: str) -> FirmwareReport:
    """Raises FirmwareError where the report is incomplete; a fault is for the caller to look for first (`fault`)."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    start = next((keys(line) for line in lines if line[0] == "bevel"), None)
    end = next((keys(line) for line in lines if line[0] == "end"), None)
    if start is None or end is None:
        raise FirmwareError(f"the firmware's report is incomplete: {text[-500:]!r}")
    if next(line for line in lines if line[0] == "bevel")[1] != PROTOCOL:
        raise FirmwareError(f"the firmware speaks another protocol than {PROTOCOL}: {text[:100]!r}")
    report = FirmwareReport(
        model=start["model"],
        vectors=number(start["vectors"]),
        calls=number(start["calls"]),
        mismatches=number(end["mismatches"]),
        first_mismatch=first_mismatch(lines),
        crc=number(end["crc"]),
        stack_bytes=number(end["stack"]),
        stack_reserved=number(end["reserved"]),
        ticks=column(lines, "vector"),
        call_ticks=column(lines, "call"),
    )
    if (len(report.ticks), len(report.call_ticks)) != (report.vectors, report.calls if report.vectors else 0):
        raise FirmwareError(f"lines are missing from the firmware's report: {text[-500:]!r}")
    return report


def fault(text: str) -> dict[str, int] | None:
    """exception, pc and lr of the fault that ended the report, if one did."""
    lines = [line.split() for line in text.splitlines() if line.startswith("fault ")]
    return {key: number(value) for key, value in keys(lines[0]).items()} if lines else None


def keys(words: Iterable[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words if "=" in word)


def number(text: str) -> int:
    return int(text, 0)


def column(lines: list[list[str]], event: str) -> tuple[int, ...]:
    """The ticks of every line of one kind, in the order of its index."""
    found = {int(line[1]): number(keys(line)["ticks"]) for line in lines if line[0] == event}
    return tuple(found[index] for index in sorted(found))


def first_mismatch(lines: list[list[str]]) -> dict[str, int] | None:
    line = next((line for line in lines if line[0] == "mismatch"), None)
    return {key: number(value) for key, value in keys(line).items()} if line is not None else None


def read(text: str, loaded: Image, artifact: Artifact, vectors: Vectors) -> FirmwareReport:
    """The checked report of firmware that ran `vectors`. Raises FirmwareError where it faulted, naming the symbol."""
    if failed := fault(text):
        where = loaded.symbol_at(failed["pc"])
        raise FirmwareError(f"the firmware faulted at pc {failed['pc']:#010x} in {where}: {failed['exception']}")
    found = parse(text)
    check(found, artifact, vectors)
    return found


def check(report: FirmwareReport, artifact: Artifact, vectors: Vectors) -> None:
    """Raises FirmwareError unless the report is about this model and these vectors, and agrees with itself.

    The firmware's own comparison is not taken on trust: where it found nothing wrong, the CRC of what it computed must
    be that of the expected outputs.
    """
    if (report.model, report.vectors, report.calls) != (artifact.model, len(vectors), len(artifact.calls)):
        raise FirmwareError(
            f"the firmware ran {report.vectors} vectors of {report.model}, not those of {artifact.model}"
        )
    if report.stack_bytes >= report.stack_reserved:
        raise FirmwareError(f"{artifact.model} needs more stack than the {report.stack_reserved} bytes reserved for it")
    expected = expected_crc(vectors, [slot.port for slot in artifact.outputs])
    if (report.crc == expected) != (report.mismatches == 0):
        raise FirmwareError(
            f"the firmware counts {report.mismatches} mismatches, but the CRC of its outputs is {report.crc:#010x} "
            f"where integer.onnx's is {expected:#010x}"
        )


def describe_mismatch(report: FirmwareReport, artifact: Artifact) -> str | None:
    """Where the first wrong element is and what it should be."""
    found = report.first_mismatch
    if found is None:
        return None
    port = artifact.outputs[found["output"]].port
    dtype = np.dtype(port.dtype).newbyteorder("<")
    got, expected = (
        np.frombuffer(found[key].to_bytes(dtype.itemsize, "little"), dtype)[0] for key in ("got", "expected")
    )
    place = [int(index) for index in np.unravel_index(found["element"], port.shape)]
    return f"input {found['vector']}, output {port.name}{place}: {got} instead of {expected}"
