"""Float islands (`bevel.backends.program.island`) through TVM's ONNX importer.

A model is imported into relax, every operator is legalised to a TIR function, and each call of one becomes one
`Call` of a `Float` kernel. Whatever such a function allocates becomes a scratch operand, because a local buffer would
be an array on the stack.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from io import StringIO
from math import prod
from pathlib import Path
from traceback import walk_tb
from typing import Any, ClassVar

import numpy as np
import onnx
import tvm
import tvm_ffi
from tvm import relax, s_tir, tirx
from tvm.relax.frontend.onnx import from_onnx
from tvm.relax.frontend.onnx.onnx_frontend import _get_convert_map

from bevel.backends.program.island import Island, NotImportable
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Array, Operand, Role
from bevel.backends.program.ops.copy import Copy
from bevel.backends.program.program import Buffer, Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.target import load
from bevel.calib.errors import UserError

SERIAL, PARALLEL = int(tirx.ForKind.SERIAL), int(tirx.ForKind.PARALLEL)
NEEDED = {"avx2", "fma"}  # abilities of x86-64 that not every processor has
MESSAGE = 160  # characters of a message of TVM's that a person reads


@dataclass(frozen=True, eq=False)
class Float(Kernel):
    """One legalised relax operator. `function` takes its buffers in operand order and `order` says what each is.

    Kernels are equal when their functions are, structurally, whatever number relax appended to the name. `reference`
    runs the same function, compiled for this machine: it checks how a program is put together, not the arithmetic, and
    may differ in the last bits from code that was generated for another processor.
    """

    rates: ClassVar[Rates] = Rates(input=6e-10, call=3e-8, unit=Resource.LATENCY)  # as of other loops of a CPU

    operation: str
    function: Any
    order: tuple[Role, ...]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Float)
            and self.order == other.order
            and bool(tvm_ffi.structural_equal(self.function, other.function))
        )

    def __hash__(self) -> int:
        return hash((self.order, int(tvm_ffi.structural_hash(self.function))))

    def __str__(self) -> str:
        shapes = ", ".join(f"{operand.dtype}{list(operand.shape)}" for operand in self.operands())
        return f"Float({self.operation}: {shapes})"

    @property
    def exact(self) -> bool:
        return False

    @property
    def content(self) -> str:
        return f"{self.order} {tvm.ir.save_json(self.function)}"

    def operands(self) -> tuple[Operand, ...]:
        parameters = zip(self.function.params, self.order, strict=True)
        return tuple(
            Operand(f"{role.value}{index}", role, static_shape(buffer.shape), str(buffer.dtype))
            for index, (buffer, role) in enumerate(parameters)
        )

    def reference(self, *arrays: Array) -> Array:
        return self.results(*arrays)[0]

    def results(self, *arrays: Array) -> tuple[Array, ...]:
        given = iter(arrays)
        read = (Role.INPUT, Role.CONSTANT)
        memory = [
            tvm.runtime.tensor(
                np.asarray(next(given), order="C") if operand.role in read else np.zeros(operand.shape, operand.dtype)
            )
            for operand in self.operands()
        ]
        compiled(self)(*memory)
        return tuple(one.numpy() for one, role in zip(memory, self.order, strict=True) if role is Role.OUTPUT)

    def build(self, name: str) -> Any:
        return self.function.with_attr("global_symbol", name)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Standard normal floats; zeros for integers, which are indices and must lie inside."""
        return tuple(
            np.asarray(rng.standard_normal(operand.shape)).astype(operand.dtype)
            if np.issubdtype(operand.dtype, np.floating)
            else np.zeros(operand.shape, operand.dtype)
            for operand in self.roles(Role.INPUT, Role.CONSTANT)
        )


@lru_cache(maxsize=256)
def compiled(kernel: Float) -> Any:
    """The kernel as a function of TVM tensors, compiled for this machine."""
    return tvm.compile(tvm.IRModule({"main": kernel.build("main")}), target=this_machine())["main"]


@cache
def this_machine() -> Any:
    """What TVM's LLVM compiles for: as it does a library for `host`, if this processor runs that."""
    information = Path("/proc/cpuinfo")
    has = set(information.read_text(encoding="utf-8").split()) if information.exists() else set()
    try:
        host = load("host")
    except UserError:
        return "llvm"
    return dict(host.llvm or {}) if has.issuperset(NEEDED.intersection(host.abilities)) else "llvm"


def one_line(error: Exception) -> str:
    """The sentence of a message of several lines: TVM puts where it came from above it, and a trace of C++ below."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if not line.startswith(("File ", "at ", "Stack trace", "^"))), "")
    return said[:MESSAGE] or type(error).__name__


@dataclass(frozen=True)
class IslandValue:
    """A relax value that some buffer holds."""

    buffer: Buffer


Value = IslandValue | Array | tuple[Any, ...]  # in a buffer, constant, or a tuple of values


def import_island(model: onnx.ModelProto, prefix: str) -> Island:
    """`model`, all of static shapes, as calls of `Float` kernels; `prefix` starts the names of nodes and buffers.

    Raises UserError for a dynamic shape, and for an operator that the importer, or a static program, cannot hold.
    """
    inputs = [static_buffer(value) for value in graph_inputs(model.graph)]
    for value in model.graph.output:
        static_buffer(value)
    module = legalised(model, prefix)
    main = module["main"]
    values: dict[Any, Value] = dict(zip(main.params, map(IslandValue, inputs), strict=True))
    calls: list[Call] = []
    for binding in (binding for block in main.body.blocks for binding in block.bindings):
        if is_tir_call(binding.value):
            call, buffers = tir_call(module, binding.value, values, f"{prefix}{len(calls)}")
            calls.append(call)
            stored = tuple(map(IslandValue, buffers))
            values[binding.var] = stored if len(stored) > 1 else stored[0]
        else:
            values[binding.var] = evaluated(binding.value, values, prefix)
    results = evaluated(main.body.body, values, prefix)
    return named_outputs(calls, as_tuple(results), [value.name for value in model.graph.output], prefix)


def unimportable(model: onnx.ModelProto) -> list[str]:
    """The operator types of `model` that TVM's importer does not know, sorted."""
    return sorted({node.op_type for node in model.graph.node if not is_importable(node.op_type)})


def is_importable(op: str) -> bool:
    """Whether TVM's importer knows the operator; that it takes this use of it is another question."""
    return op in _get_convert_map()


def graph_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    initializers = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in initializers]


def static_buffer(value: onnx.ValueInfoProto) -> Buffer:
    """Raises UserError when a dimension has no number."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or any(not axis.HasField("dim_value") for axis in tensor.shape.dim):
        raise NotImportable(value.name, "a float island needs a static shape; fix the batch and input sizes")
    shape = tuple(int(axis.dim_value) for axis in tensor.shape.dim)
    return Buffer(value.name, shape, str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)))


def legalised(model: onnx.ModelProto, prefix: str) -> Any:
    """The relax module of `model`: a main function of call_tir bindings, constants folded, dead code gone."""
    unknown = unimportable(model)
    if unknown:
        raise NotImportable(prefix, f"TVM has no importer for {', '.join(unknown)}")
    passes = [
        relax.transform.LegalizeOps(),
        relax.transform.FoldConstant(),
        relax.transform.CanonicalizeBindings(),
        relax.transform.DeadCodeElimination(),
    ]
    try:
        with redirect_stdout(StringIO()):  # it prints what it then raises
            return tvm.ir.transform.Sequential(passes)(from_onnx(model))
    except Exception as error:  # TVM reports an attribute or type it cannot take by whatever Python or C++ raises
        end_blocks(error)
        raise NotImportable(prefix, f"TVM cannot import this use of it: {one_line(error)}") from error


def end_blocks(error: Exception) -> None:
    """Close what TVM's importer left open when it failed: a builder that ends with open blocks writes a warning to
    standard error, which is for one line of ours."""
    held = (getattr(frame.f_locals.get("self"), "bb", None) for frame, _ in walk_tb(error.__traceback__))
    for builder in {id(one): one for one in held if isinstance(one, relax.BlockBuilder)}.values():
        with suppress(Exception):  # which it raises when none is left
            while True:
                builder._end_block()


def is_tir_call(value: Any) -> bool:
    return isinstance(value, tvm.ir.Call) and str(value.op.name) == "relax.call_tir"


def evaluated(value: Any, values: dict[Any, Value], prefix: str) -> Value:
    """What a relax expression other than a call of a TIR function stands for.

    Raises UserError for a call: it needs TVM's runtime, mostly because a shape depends on data.
    """
    if value in values:
        known: Value = values[value]
        return known
    match value:
        case tvm.ir.GenericConst():
            constant: Array = value.value.numpy()
            return constant
        case relax.Tuple():
            return tuple(evaluated(field, values, prefix) for field in value.fields)
        case relax.TupleGetItem():
            element: Value = as_tuple(evaluated(value.tuple_value, values, prefix))[value.index]
            return element
    what = str(value.op.name) if isinstance(value, tvm.ir.Call) else type(value).__name__
    raise NotImportable(prefix, f"{what} needs TVM's runtime, which no product has")


def as_tuple(value: Value) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def tir_call(module: Any, call: Any, values: dict[Any, Value], node: str) -> tuple[Call, tuple[Buffer, ...]]:
    """The Call of a call_tir, and the buffers it writes."""
    name, function = str(call.args[0].name_hint), module[call.args[0]]
    arguments = [evaluated(field, values, node) for field in call.args[1].fields]
    if len(call.args) > 2 or any(isinstance(argument, tuple) for argument in arguments):
        raise NotImportable(node, f"{name} takes a symbolic shape or a tuple")
    kernel, label = float_kernel(name, function, arguments), f"{node}_{name}"
    written = kernel.roles(Role.OUTPUT)
    names = [label] if len(written) == 1 else [f"{label}_{index}" for index in range(len(written))]
    inputs = tuple(argument.buffer.name for argument in arguments if isinstance(argument, IslandValue))
    constants = tuple(argument for argument in arguments if isinstance(argument, np.ndarray))
    made = Call(label, kernel, inputs, constants, names[0], more=tuple(names[1:]))
    return made, tuple(Buffer(one, operand.shape, operand.dtype) for one, operand in zip(names, written, strict=True))


def float_kernel(name: str, function: Any, arguments: Sequence[Value]) -> Float:
    """`function` with its buffers in operand order."""
    roles = [Role.INPUT if isinstance(argument, IslandValue) else Role.CONSTANT for argument in arguments]
    roles += [Role.OUTPUT] * (len(function.params) - len(arguments))
    block = function.body.block
    buffers = [*zip(function.params, roles, strict=True), *((buffer, Role.SCRATCH) for buffer in block.alloc_buffers)]
    ordered = [(buffer, role) for wanted in Role for buffer, role in buffers if role is wanted]
    bare = s_tir.SBlock(block.iter_vars, block.reads, block.writes, block.name_hint, block.body, block.init, [])
    body = s_tir.SBlockRealize([], tirx.const(True, "bool"), bare)
    parameters = [buffer for buffer, _ in ordered]
    rebuilt = sequential(tirx.PrimFunc(parameters, body, function.ret_type, function.attrs))
    return Float(name, rebuilt, tuple(role for _, role in ordered))


def sequential(function: Any) -> Any:
    """`function` without what would call TVM's runtime: loops that several threads share run in one, and its buffers
    begin where their pointers point. TVM has no way to edit a loop in place, so it is edited as TVM stores it."""
    stored = json.loads(tvm.ir.save_json(function))
    nodes = stored["nodes"]
    loops = [one["data"] for one in nodes if one["type"] == "tirx.For" and one["data"]["kind"] == PARALLEL]
    if not loops:
        return function
    for loop in loops:
        loop["kind"] = SERIAL
    buffers = [one["data"] for one in nodes if one["type"] == "tirx.BufferType"]
    starts = {nodes[one["elem_offset"]]["type"]: one["elem_offset"] for one in buffers}
    for buffer in buffers:
        buffer["elem_offset"] = starts.get("ir.IntImm", buffer["elem_offset"])
    for place, one in enumerate(nodes):
        if one["type"] == "tirx.AttrStmt" and nodes[one["data"]["attr_key"]]["data"] == "pragma_scope":
            nodes[place] = nodes[one["data"]["body"]]
    return tvm.ir.load_json(json.dumps(stored))


def static_shape(shape: Sequence[Any]) -> tuple[int, ...]:
    return tuple(int(extent) for extent in shape)


def named_outputs(calls: Sequence[Call], results: Sequence[Any], names: Sequence[str], prefix: str) -> Island:
    """The island with each result in a buffer of its ONNX name: renamed where it can be, else copied there."""
    renamed: dict[str, str] = {}
    copies: list[Call] = []
    constants: dict[str, Array] = {}
    own = {name for call in calls for name in call.outputs}
    for name, result in zip(names, results, strict=True):
        source = result.buffer.name if isinstance(result, IslandValue) else f"{prefix}constant_{name}"
        if source in own and source not in renamed:
            renamed[source] = name
            continue
        if not isinstance(result, IslandValue):
            constants[source] = result
        value = result.buffer if isinstance(result, IslandValue) else result
        copies.append(Call(f"{prefix}copy_{name}", Copy(prod(value.shape), str(value.dtype)), (source,), (), name))
    final = tuple(with_names(call, renamed) for call in (*calls, *copies))
    held = (Buffer(name, np.shape(array), str(array.dtype)) for name, array in constants.items())
    return Island((*held, *written_buffers(final)), final, constants)


def with_names(call: Call, names: dict[str, str]) -> Call:
    inputs = tuple(names.get(name, name) for name in call.inputs)
    output, *more = (names.get(name, name) for name in call.outputs)
    return replace(call, inputs=inputs, output=output, more=tuple(more))


def written_buffers(calls: Sequence[Call]) -> Iterator[Buffer]:
    for call in calls:
        for name, operand in zip(call.outputs, call.kernel.roles(Role.OUTPUT), strict=True):
            yield Buffer(name, operand.shape, operand.dtype)
