"""`bevel export-qonnx`: a quantized model for tools that read QONNX, such as FINN and hls4ml."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bevel.calib.errors import UserError
from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.load import fix_batch, load_model
from bevel.passes.exchange.qonnx.export_qonnx import export_qonnx
from bevel.passes.exchange.qonnx.nodes import DOMAIN
from bevel.tools.command.quiet import quiet_libraries
from bevel.tools.run import bundle
from bevel.tools.run.single_file import check_file, write_file


def write_qonnx(source: Path, output: Path) -> None:
    """Write the model at `source` to `output`. Raises UserError for one without quantizers, or with some that QONNX
    has not."""
    quiet_libraries()
    file = source / bundle.QUANTIZED if source.is_dir() else source
    check_file(output)
    if output.exists() and file.exists() and output.samefile(file):
        raise UserError(f"{output}: that is the model itself; name another file")
    graph, _ = canonicalize(fix_batch(load_model(file)))
    model = export_qonnx(graph)
    write_file(output, model.SerializeToString(deterministic=True))
    count = sum(node.domain == DOMAIN for node in model.graph.node)
    Console().print(
        f"{output}: {count} quantizers, {output.stat().st_size} bytes", highlight=False, markup=False, soft_wrap=True
    )
