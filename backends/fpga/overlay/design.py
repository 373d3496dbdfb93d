"""The overlay of a program on a part: the fastest unit that there is room for, and the files of its design."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bevel.backends.fpga.design import Design, StreamInterface, axis, library
from bevel.backends.fpga.logic import total
from bevel.backends.fpga.overlay.assembly import Assembled, assembled
from bevel.backends.fpga.overlay.network import OverlayNetwork
from bevel.backends.fpga.overlay.timing import busy, modelled
from bevel.backends.fpga.overlay.top import outer, overlay_top
from bevel.backends.fpga.overlay.unit import LIBRARY, UNITS, OverlayUnit
from bevel.backends.fpga.search import FILLED, LOGIC
from bevel.backends.fpga.stage import Stage
from bevel.backends.fpga.timing import ModelCycles
from bevel.backends.fpga.verilog.text import identifier
from bevel.backends.program.resources import Resource, Resources
from bevel.calib.errors import UserError

PROGRAM = "program.mem"


@dataclass(frozen=True, eq=False)
class Overlay:
    """A program, the unit that computes it, and its cycles."""

    made: Assembled
    unit: OverlayUnit
    model: ModelCycles

    @property
    def takes(self) -> Resources:
        """An estimate."""
        found = total([self.unit.estimate(self.made), *(stage.estimate() for stage in stages(self.made.network))])
        return Resources({name: int(-(-found[name] // 1)) for name in LOGIC})


def stages(network: OverlayNetwork) -> list[Stage]:
    return [end.stage for end in (*network.inputs, *network.outputs) if end.stage is not None]


def fitted(network: OverlayNetwork, limits: Resources) -> Overlay:
    """The overlay with the fewest cycles a frame within `limits`. Raises UserError where none fits, with what the
    smallest takes; and where tensors lie as no unit reads them."""
    found: list[Overlay] = []
    usable = limits | {name: limits[name] * FILLED for name in (Resource.LUT, Resource.FF) if name in limits}
    errors: list[UserError] = []
    programs: dict[int, Assembled] = {}
    for unit in UNITS:
        try:
            made = programs.get(unit.lanes) or assembled(network, unit.lanes)
        except UserError as error:
            errors.append(error)
            continue
        programs[unit.lanes] = made
        found.append(Overlay(made, unit, modelled(made, unit)))
    if not found:
        raise errors[0]
    fits = [one for one in found if one.takes.within(usable)]
    if fits:
        return min(fits, key=lambda one: (one.model.steady_state, one.takes[Resource.LUT]))
    raise refusal(network, found, limits)


def refusal(network: OverlayNetwork, found: list[Overlay], limits: Resources) -> UserError:
    """What the nearest takes, and what there is."""

    def beyond(one: Overlay) -> float:
        return max(one.takes[name] / max(limits[name], 1) for name in LOGIC if name in limits)

    nearest = min(found, key=beyond)
    over = [name for name in LOGIC if name in limits and nearest.takes[name] > limits[name]]
    told = " and ".join(f"{nearest.takes[name]:,.0f} {name.label} of {limits[name]:,.0f}" for name in over or LOGIC)
    return UserError(
        f"{network.name} is too large even with its weights outside: with {nearest.unit.lanes} x {nearest.unit.lanes} "
        f"multipliers, and {nearest.made.words * nearest.unit.lanes:,} bytes of activations at once, it takes about "
        f"{told} (estimates)"
    )


def overlay_design(overlay: Overlay) -> Design:
    made, unit, network = overlay.made, overlay.unit, overlay.made.network
    rtl = {f"{name}.v": library(name) for name in LIBRARY}
    memories = {PROGRAM: made.image()}
    modules = [unit.products(), *(module for stage in stages(network) for module in stage.modules())]
    for module in modules:
        rtl[f"{module.name}.v"] = module.text
        memories |= module.memories
    rtl[f"{network.name}_top.v"] = overlay_top(made, unit, overlay.model.steady_state)
    given = [axis(end.outside, outer(end, unit.lanes, True)) for end in network.inputs]
    made_out = [axis(end.outside, outer(end, unit.lanes, False)) for end in network.outputs]
    model = overlay.model
    interface = StreamInterface(
        network.name, tuple(given), tuple(made_out), model.steady_state, model.first_frame, unit.lanes
    )
    return Design(rtl, memories, interface, {})


def described_calls(overlay: Overlay) -> Iterator[tuple[str, str, str, int]]:
    """Of each step and each end: its node, its name, what it is called in the report, and its products."""
    network = overlay.made.network
    for end in (*network.inputs, *network.outputs):
        if end.call is not None and end.stage is not None:
            yield end.call.node, end.stage.name, type(end.call.kernel).__name__, 0
    for step, cycles in busy(overlay.made, overlay.unit):
        kernel = step.call.kernel
        yield step.call.node, identifier(step.call.node), f"{type(kernel).__name__}, {cycles:,} cycles", kernel.macs
