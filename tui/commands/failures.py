"""How a command fails: one sentence and the next step on standard error, and an exit status."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import NoReturn

from mlxqwen.errors import MlxqwenError

from .output import tell

DEBUG = "MLXQWEN_DEBUG"
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


@contextmanager
def reported() -> Generator[None, None, None]:
    """Turn what a command raises into a sentence and an exit status.

    Tracebacks appear only with ``--debug`` (or ``MLXQWEN_DEBUG=1``). A reader that closed the pipe
    has seen enough: that is no failure to talk about.
    """
    try:
        yield
    except KeyboardInterrupt:
        leave(INTERRUPTED)
    except BrokenPipeError:
        leave(1)
    except MlxqwenError as error:
        if os.environ.get(DEBUG):
            raise
        _say(str(error))
        raise SystemExit(error.exit_code) from error
    except ImportError as error:
        if os.environ.get(DEBUG):
            raise
        _say(f"A library cannot be used here: {error}. `mlxqwen doctor` finds out why.")
        raise SystemExit(1) from error
    except OSError as error:
        if os.environ.get(DEBUG):
            raise
        _say(_sentence(error))
        raise SystemExit(1) from error


def leave(status: int) -> NoReturn:
    """End the process now, without waiting for a thread that is in the middle of a computation.

    Leaving by an exception would: a second Ctrl-C meanwhile ends in a crash report of MLX. What
    standard output still holds is written if anybody reads it.
    """
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(status)


def _say(text: str) -> None:
    tell(f"mlxqwen: {text}")


def _sentence(error: OSError) -> str:
    where = f" at {error.filename}" if error.filename else ""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"The disk is full{where}. Free some space, then run the command again."
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return (
                f"Not allowed to write or read{where}. Choose another place, or change its rights."
            )
        case _:
            return (
                f"{error.strerror or error}{where}. Run with --debug to see where this came from."
            )
