"""`bevel.optimize`: the command as a function. Its keywords are the fields of `Options`, with their types.

Importing this costs little; the compiler is loaded by the first call.
"""

from __future__ import annotations

import inspect
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from bevel.calib.errors import UserError
from bevel.tools.command.early import check_early
from bevel.tools.report.report import Report
from bevel.tools.run.declared import Declared, declared_by
from bevel.tools.run.options import Options
from bevel.tools.run.parsers import File

if TYPE_CHECKING:
    import onnx

    Model = File | onnx.ModelProto

Progress = Callable[[str, int, int], object]
Keywords = ParamSpec("Keywords")

IN_MEMORY = "model.onnx"  # the file that a model in memory becomes
_one_run = threading.Lock()  # temporary files and the settings of libraries belong to the process


class ResultWarning(UserWarning):
    """What the command prints in red: a result that is not to be used as it is."""


@dataclass(frozen=True, kw_only=True)
class OptimizeCall(Options):
    """What `optimize` takes: the options of the command, and whom to tell how far it is."""

    progress: Progress | None = None


def listed(options: Iterable[Declared]) -> str:
    """A line for each, as the command line's help has it."""
    lines = []
    for one in options:
        said = [one.option.help or "", f"one of {', '.join(one.option.choices)}" if one.option.choices else ""]
        name = f"{one.name}=False" if one.default is True else one.name
        lines.append(f"    {name}: {'; '.join(part.removesuffix('.') for part in said if part)}")
    return "\n".join(lines)


def called_like(
    options: Callable[Concatenate[Path, Keywords], OptimizeCall],
) -> Callable[[Callable[..., Report]], Callable[Concatenate[Model, Keywords], Report]]:
    """Give a function the keywords of `options`: to type checkers, to `inspect`, and in its docstring."""

    def changed(function: Callable[..., Report]) -> Callable[..., Report]:
        model, _ = inspect.signature(function).parameters.values()
        _, *others = inspect.signature(options).parameters.values()
        keywords = [one.replace(annotation=inspect.Parameter.empty) for one in others]
        function.__signature__ = inspect.Signature([model, *keywords])  # type: ignore[attr-defined]
        function.__doc__ = f"{function.__doc__}\n    Options:\n\n{listed(declared_by(Options).values())}\n"
        return function

    return changed


@called_like(OptimizeCall)
def optimize(model: Model, /, **given: Any) -> Report:
    """Quantize `model`, build it for `target`, run it there, and leave the bundle at `output`, as the command does.

    model: the path of an ONNX file, or an onnx.ModelProto. The keywords are the options of `optimize --help`; `calib`
    and `eval` also take arrays by the names of the model's inputs, or samples one by one, each such arrays. progress is
    called with the stage, how much of it is done, and of how much (0: not known yet); what it raises ends the run.

    Returns report.json as an object. Warns (`ResultWarning`) where the command would print a red line. Raises UserError
    for what the caller can put right, and TypeError for a keyword that does not exist; `output` is then as it was.
    Nothing is printed and no signal is handled. Runs of several threads wait for each other.
    """
    progress = given.pop("progress", None)
    check_names(given)
    command = given.pop("command", "") or spelled(model, given)
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    with _one_run, in_file(model, given) as file:
        options = Options(file, command=command, **given)
        check_early(options)
        report, doubts = run(options, progress)
    for line in doubts:
        warnings.warn(line, ResultWarning, stacklevel=2)
    return report


def check_names(given: Mapping[str, Any]) -> None:
    """Raises TypeError, with what may have been meant."""
    known = [*declared_by(Options), "command", "progress"]
    for name in given:
        if name not in known:
            near = get_close_matches(name.removeprefix("no_"), known)
            hint = f"; did you mean {' or '.join(near)}?" if near else "; help(bevel.optimize) lists them"
            raise TypeError(f"optimize() has no option {name!r}{hint}")


@contextmanager
def in_file(model: Model, given: Mapping[str, Any]) -> Iterator[Path]:
    """The path of `model`, which is a file of its own while the body runs if there was none."""
    if isinstance(model, str | os.PathLike):
        yield Path(model)
        return
    if not hasattr(model, "SerializeToString"):
        raise UserError(f"a model is a path or an onnx.ModelProto; found {type(model).__name__}")
    from bevel.backends.process.litter import scratch_folder, temporary_base

    try:
        data = model.SerializeToString(deterministic=True)
    except ValueError as error:
        raise UserError(f"the model is too large for one file ({error}); save it with external data") from error
    with scratch_folder(temporary_base()) as folder:
        file = folder / IN_MEMORY
        file.write_bytes(data)
        try:
            yield file
        except UserError as error:  # nobody knows that file
            raise UserError(str(error).replace(str(file), "the model given")) from error


def spelled(model: Model, given: Mapping[str, Any]) -> str:
    """The call, for the manifest; what has no short text is left out."""
    words = [repr(os.fspath(model)) if isinstance(model, str | os.PathLike) else "..."]
    for name, value in given.items():
        plain = value is None or isinstance(value, str | int | float | tuple)
        text = repr(value) if plain else repr(os.fspath(value)) if isinstance(value, os.PathLike) else "..."
        words.append(f"{name}={text}")
    return f"optimize({', '.join(words)})"


def run(options: Options, progress: Progress | None) -> tuple[Report, list[str]]:
    """The report, and what is wrong with the result."""
    with warnings.catch_warnings():
        from bevel.backends.process.litter import scratch
        from bevel.tools.command.quiet import quiet_libraries
        from bevel.tools.compile import compile_model
        from bevel.tools.report.red_lines import warnings as doubts
        from bevel.tools.run.stages import Silent, Stages, Told

        quiet_libraries()
        with scratch():
            report = compile_model(options, Stages(Silent() if progress is None else Told(progress)))
        return report, doubts(options, report)
