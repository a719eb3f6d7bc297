"""The one console script, ``mlxqwen``.

Nothing but the standard library is imported before ``main`` can answer Ctrl-C; the commands
themselves are in ``commands``, and each imports what it needs when it runs.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; the process ends with the exit status of the command."""
    try:
        from .commands.root import app

        app(prog_name="mlxqwen")
    except KeyboardInterrupt:
        # Flushing at exit could write half of what was interrupted, or wait for a reader.
        os._exit(130)
    except BrokenPipeError:
        sys.exit(1)


if __name__ == "__main__":
    main()
