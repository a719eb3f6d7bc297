"""A command of mlxqwen as a child of the interface: ``python -m tui.leash pull NAME --json``.

Its standard input is the leash. However the interface ends, even by a kill, the pipe closes; then
the command is interrupted as by Ctrl-C, which leaves everything so that it can be continued.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress

_STDIN = 0
_PATIENCE = 5.0  # seconds that an interrupted command may take
_NICE = 10  # the chat and its keys come first


def main() -> None:
    """Run the command in ``sys.argv`` until it ends, or standard input does."""
    with suppress(OSError):
        os.nice(_NICE)
    threading.Thread(target=_hold, name="leash", daemon=True).start()
    from .cli import main as command

    command()


def _hold() -> None:
    with suppress(OSError):
        while os.read(_STDIN, 64):
            pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(_PATIENCE)
    os._exit(130)


if __name__ == "__main__":
    main()
