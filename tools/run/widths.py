"""`--switchable 8,6,4,2`: a product whose weights can change their width, its models, and what it is at each width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx

from bevel.backends.at_width import SwitchableProduct
from bevel.backends.program.fit import Fit
from bevel.backends.program.program import Program
from bevel.backends.program.resources import NOTHING
from bevel.backends.program.switching import switchable
from bevel.backends.tir import importer
from bevel.calib.errors import UserError
from bevel.passes.partition.partition import partition
from bevel.tools.accuracy import evaluate
from bevel.tools.report.report import Width
from bevel.tools.run import bundle, vectors
from bevel.tools.run.data import Data

Models = Mapping[int, onnx.ModelProto]  # integer models, by the bits of their weights


def switched(program: Program, narrower: Models, folder: Path, islands: bool) -> Program:
    """`program` that can change to the widths of the integer models `narrower`, which are saved."""
    for bits, model in narrower.items():
        bundle.save_model(folder, f"integer_{bits}bit.onnx", model)
    programs = {bits: partition(model, program.name, islands, importer)[0] for bits, model in narrower.items()}
    return switchable(program, programs) if programs else program


def unbanded(fitted: Fit) -> Fit:
    """Raises UserError where a program of switchable width would have to run in bands of rows."""
    if fitted.program.widths and fitted.chains:
        raise UserError(
            "this model fits into RAM in bands of rows only, which --switchable cannot do; leave out one of "
            "--switchable and --max-ram, or take a part with more RAM"
        )
    return fitted


def measured(
    product: SwitchableProduct, narrower: Models, models: evaluate.Models, data: Data, count: int
) -> tuple[Width, ...]:
    """Accuracy and cost at each narrower width, with `count` test vectors."""
    found = []
    for bits, integer in narrower.items():
        tests = vectors.make_vectors(integer, product.program, data.vectors, count)
        cost = product.measured(bits, tests)
        at_bits = replace(models, integer=integer)
        accuracy = evaluate.measured(at_bits, data, lambda done, total: None).accuracy() if data.evaluation else None
        found.append(
            Width(
                bits,
                None if accuracy is None else accuracy.top1_integer,
                None if accuracy is None else accuracy.sqnr_db,
                None if cost is None else cost.mismatches,
                NOTHING if cost is None else cost.spent,
            )
        )
    return tuple(found)
