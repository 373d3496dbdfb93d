"""Libraries that print on their own are told not to: standard output is for the report, standard error for one line."""

from __future__ import annotations

import warnings

import onnxruntime
from onnx_graphsurgeon.logger import G_LOGGER

FATAL_ONLY = 4  # errors are raised, too


def quiet_libraries() -> None:
    onnxruntime.set_default_logger_severity(FATAL_ONLY)
    G_LOGGER.colors = False  # or it advertises a package, on standard output
    G_LOGGER.severity = G_LOGGER.ERROR
    warnings.filterwarnings("ignore", category=UserWarning, module="tvm")  # its importer tells of each name it changes
