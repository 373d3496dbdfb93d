"""How every command ends: 0, or the user's mistake in one line and 2, or a bug of ours in one line and 1."""

from __future__ import annotations

import errno
import gc
import io
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress

import click

from bevel.backends.process import interruption
from bevel.calib.errors import UserError

OURS = 1
USER_MISTAKE = interruption.EXIT_CODE
# What a machine or a path may refuse: room, rights, names, and limits of a process.
OF_THE_MACHINE = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP,
    errno.ENOTDIR, errno.EISDIR, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ESTALE,
)  # fmt: skip
OUT_OF_MEMORY = "out of memory: this machine has too little for this model, its batch or its samples"


def run(command: click.Command, arguments: Sequence[str] | None = None) -> int:
    """`command` with `arguments` (None: those of the process): the exit code, and at most one line of error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    typed = shlex.join([command.name or "bevel", *given])
    _print_anything()
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime would tell its maker of each run
    gc.set_threshold(20_000, 20, 20)  # a build makes many objects at a time, and most of them stay
    if arguments is None and (code := _completed(command)) is not None:
        return code
    with interruption.handled(last=arguments is None):
        return _ended(command, given, typed)


def _ended(command: click.Command, given: list[str], typed: str) -> int:
    try:
        code = 0
        try:
            with command.make_context(command.name, given, obj=typed) as context:
                command.invoke(context)
        except click.exceptions.Exit as end:
            code = end.exit_code
        _flush()
        return code
    except BrokenPipeError:
        return _reader_is_gone()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # rich's way to end
            return _reader_is_gone()
        raise
    except (KeyboardInterrupt, click.Abort):
        return _fail(interruption.line())
    except Exception as error:
        if interruption.received():  # what an interruption broke on its way is not worth telling
            return _fail(interruption.line())
        return _told(error, typed)


def _completed(command: click.Command) -> int | None:
    """What a shell asks through a variable, as click writes its scripts; None where no shell asks."""
    name = command.name or "bevel"
    variable = f"_{name}_COMPLETE".upper()
    asked = os.environ.get(variable)
    if not asked:
        return None
    from click.shell_completion import shell_complete

    return shell_complete(command, {}, name, variable, asked)


def _told(error: Exception, typed: str) -> int:
    """Print the one line that `error` deserves."""
    if isinstance(error, click.UsageError) and error.ctx is not None and error.message == error.ctx.get_help():
        error.show()  # click's answer to a group without a command
        return USER_MISTAKE
    if isinstance(error, click.ClickException):
        return _fail(error.format_message())
    if isinstance(error, UserError):
        return _fail(str(error))
    if isinstance(error, MemoryError):
        said = " ".join(str(error).split())
        return _fail(f"{OUT_OF_MEMORY}{f' ({said})' if said else ''}")
    if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
        return _fail(f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror))
    try:
        from bevel.tools.command.bug import bug_line

        line = bug_line(error, typed)
    except Exception:  # the last net has no hole
        line = f"this is a bug of Bevel: {type(error).__name__}"
    return _fail(line, OURS)


def _fail(line: str, code: int = USER_MISTAKE) -> int:
    with suppress(OSError):  # nobody reads it
        print(f"error: {' '.join(line.split())}", file=sys.stderr)
    try:
        _flush()
    except OSError:
        _let_go()
    return code


def _print_anything() -> None:
    """Names of files and tensors may hold what a terminal's encoding does not."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    """Now, and not at the end of the process, where an error would be a traceback."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _reader_is_gone() -> int:
    """0: who closes the pipe, as `head` does, has read enough."""
    _let_go()
    return 0


def _let_go() -> None:
    """Of the output that takes nothing more: Python's flush at its end shall find another file."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
