"""Kernels as device functions: TVM's lowering and its generators of OpenCL C and CUDA, and what a host needs to know to
launch them.

Launches (`launches.py`) are PrimFuncs over pointers to the operands that they touch, in the operands' order, and behind
them int32 values of the loops that the host runs. They go through the passes that kernels for CPUs go through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import PointerType, PrimType
from tvm.target import Target as TVMTarget

from bevel.backends.gpu.accesses import accesses
from bevel.backends.gpu.launches import Item, Launch, Repeat, every, launches_of
from bevel.backends.tir.raw_abi import block_passes, cleanup_passes, loop_passes

OWN_BYTES = 2048  # scratch that a thread may have for itself
DEVICE_LAUNCH = 2  # TVM's number of the calling convention


@dataclass(frozen=True)
class Bound:
    """A kernel as launches. `parameters`: its operands as buffers; None for those that became threads' own."""

    symbol: str
    parameters: tuple[Any | None, ...]
    items: tuple[Item, ...]

    @property
    def serial(self) -> str:
        """Why some of it runs in one thread; empty where nothing does."""
        return next((one.serial for one in every(self.items) if one.serial), "")


def bound(function: Any, scratch: Sequence[int], group: int, overwriting: int | None = None) -> Bound:
    """A PrimFunc as launches. `scratch`: the places of its operands that are working memory: where that lets loops run
    in parallel that would not otherwise, each thread has its own. overwriting: the place of an output that lies on the
    first input."""
    symbol = str(function.attrs["global_symbol"])
    module = tvm.transform.Sequential(block_passes())(tvm.IRModule({symbol: function}))
    (lowered,) = module.functions.values()
    parameters, body = list(lowered.params), lowered.body
    if overwriting is not None:
        body = on_input(parameters, body, overwriting)
    body = with_own(body, allocated(body))
    first = Bound(symbol, tuple(parameters), launches_of(body, group))
    small = [place for place in scratch if own_bytes(parameters[place]) <= OWN_BYTES]
    if not first.serial or not small:
        return first
    buffers = [parameters[place] for place in small]
    within = with_own(tirx.SeqStmt([*(tirx.AllocBuffer(one) for one in buffers), body]), buffers)
    rest = tuple(None if place in small else one for place, one in enumerate(parameters))
    second = Bound(symbol, rest, launches_of(within, group))
    return first if second.serial else second


def on_input(parameters: Sequence[Any], body: Any, output: int) -> Any:
    """A body whose output is its first input. Raises ValueError where they are unlike: nothing says then what is read
    before it is written."""
    first, result = parameters[0], parameters[output]
    if [int(one) for one in first.shape] != [int(one) for one in result.shape] or first.dtype != result.dtype:
        raise ValueError(f"{result.name} lies on {first.name}, which is of another kind")
    return renamed(body, {result: first})


def allocated(body: Any) -> list[Any]:
    found: list[Any] = []
    tvm_ffi.structural_walk(body, (tirx.AllocBuffer, lambda one: found.append(one.buffer)))
    return found


def own_bytes(buffer: Any) -> int:
    size = int(PrimType(str(buffer.dtype)).dtype.bits) // 8
    for extent in buffer.shape:
        size *= int(extent)
    return size


def with_own(body: Any, buffers: Iterable[Any]) -> Any:
    """A body where some buffers belong to a thread."""
    own = {one: tirx.decl_buffer(one.shape, str(one.dtype), one.name, scope="local") for one in buffers}
    return renamed(body, own)


def renamed(body: Any, others: Mapping[Any, Any]) -> Any:
    return tvm_ffi.structural_map(body, (tirx.Var, lambda one: others.get(one, one)))


@dataclass(frozen=True)
class Entry:
    """A device function: its launch in numbers, the places of the operands that its pointers are of, in order, and how
    often its threads together read or write what is not a thread's own."""

    symbol: str
    operands: tuple[int, ...]
    turn: int
    groups: int
    threads: int
    accesses: int


Step = tuple[Entry, tuple[int, ...]]  # an entry, and the values of the loops that the host runs


def entries(kernel: Bound) -> list[Entry]:
    """Those of a kernel, in the order in which they are launched first."""
    return [
        Entry(
            f"{kernel.symbol}_{number}",
            touched(kernel, launch),
            len(launch.turn),
            launch.groups,
            launch.threads,
            outside(launch),
        )
        for number, launch in enumerate(every(kernel.items))
    ]


def touched(kernel: Bound, launch: Launch) -> tuple[int, ...]:
    used = {one.buffer for one in accesses(launch.body)}
    return tuple(place for place, one in enumerate(kernel.parameters) if one is not None and one in used)


def outside(launch: Launch) -> int:
    """How often something is read or written that is not a thread's own, if each loop runs as long as it can."""
    return sum(prod(one.extents.values()) for one in accesses(launch.body) if not one.local)


def steps(kernel: Bound) -> list[Step]:
    """Every launch of a call, in order."""
    numbered = iter(entries(kernel))
    own = {id(launch): next(numbered) for launch in every(kernel.items)}

    def run(items: Sequence[Item], turn: tuple[int, ...]) -> Iterable[Step]:
        for one in items:
            if isinstance(one, Repeat):
                for value in range(one.extent):
                    yield from run(one.items, (*turn, value))
            else:
                yield own[id(one)], turn

    return list(run(kernel.items, ()))


def source(kernels: Iterable[Bound], target: Mapping[str, Any], aliasing: frozenset[str] = frozenset()) -> str:
    """The device code of all kernels, in the language of TVM's `target`. Pointers of a kernel that is not in `aliasing`
    are apart."""
    chosen = TVMTarget(dict(target)).with_host(TVMTarget("llvm"))
    functions = {}
    for kernel in kernels:
        for entry, launch in zip(entries(kernel), every(kernel.items), strict=True):
            functions[entry.symbol] = device_function(kernel, entry, launch, kernel.symbol in aliasing)
    module = tirx.transform.BindTarget(chosen)(tvm.IRModule(functions))
    passes = [*block_passes(), *loop_passes(), *cleanup_passes()]
    module = tirx.transform.LowerIntrin()(tvm.transform.Sequential(passes)(module))
    return str(tvm.get_global_func(f"target.build.{chosen.kind.name}")(module, chosen).inspect_source())


def device_function(kernel: Bound, entry: Entry, launch: Launch, aliasing: bool) -> Any:
    """The PrimFunc of a launch over typed pointers."""
    parameters, declarations = [], []
    for place in entry.operands:
        buffer = kernel.parameters[place]
        assert buffer is not None
        pointer = tirx.Var(f"{buffer.name}_p", PointerType(PrimType(str(buffer.dtype)), "global"))
        parameters.append(pointer)
        declarations.append(tirx.DeclBuffer(buffer, data=pointer))
    attributes = {"global_symbol": entry.symbol, "calling_conv": DEVICE_LAUNCH, "tirx.is_global_func": True}
    body = tirx.SeqStmt([*declarations, launch.body])
    function = tirx.PrimFunc([*parameters, *launch.turn], body).with_attrs(attributes)
    return function if aliasing else function.with_attr("tirx.noalias", True)
