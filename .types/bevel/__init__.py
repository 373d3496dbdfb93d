"""Bevel shapes a float ONNX model for an edge device: `from bevel import optimize`, or the commands of README.md.

This file and the links beside it make the top-level folders the package `bevel` for type checkers; setup.py maps them
for installations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bevel.calib.errors import UserError
    from bevel.tools.report.report import Report
    from bevel.tools.run.api import ResultWarning, optimize

    __version__: str

__all__ = ["Report", "ResultWarning", "UserError", "__version__", "optimize"]


if not TYPE_CHECKING:  # what is not above is an error there

    def __getattr__(name: str) -> object:
        """Looked up when somebody asks: importing a part of Bevel costs nothing more."""
        if name == "__version__":
            from importlib.metadata import version

            return version("bevel")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from bevel.calib.errors import UserError
        from bevel.tools.report.report import Report
        from bevel.tools.run.api import ResultWarning, optimize

        globals().update(Report=Report, ResultWarning=ResultWarning, UserError=UserError, optimize=optimize)
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
