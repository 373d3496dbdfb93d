"""How every command ends: 0, or the user's mistake in one line and 2, or our own bug with its traceback."""

from __future__ import annotations

import errno
import shlex
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import click

from bevel.calib.errors import UserError

USER_MISTAKE = 2
DISK_AND_RIGHTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def run(command: click.Command, arguments: Sequence[str] | None = None) -> int:
    """`command` with `arguments` (None: those of the process): the exit code, and at most one line of error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    typed = shlex.join([command.name or "bevel", *given])
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with command.make_context(command.name, given, obj=typed) as context:
            command.invoke(context)
        return 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except (UserError, click.ClickException, OSError) as error:
        return _fail(_line(error))
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted; nothing was written")
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _line(error: UserError | click.ClickException | OSError) -> str:
    """The one line that `error` deserves; an OSError that no user can put right is raised again."""
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, OSError):
        if error.errno not in DISK_AND_RIGHTS:
            raise error
        return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
    return str(error)


def _fail(line: str) -> int:
    print(f"error: {' '.join(line.split())}", file=sys.stderr)
    return USER_MISTAKE
