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
        # Shells that complete a line run the program without arguments too.
        if sys.argv[1:] in ([], ["--plain"]) and "_MLXQWEN_COMPLETE" not in os.environ:
            _open_chat(plain=len(sys.argv) > 1)
            return
        from .commands.root import app

        app(prog_name="mlxqwen")
    except KeyboardInterrupt:
        # Flushing at exit could write half of what was interrupted, or wait for a reader.
        os._exit(130)
    except RuntimeError as error:
        # Python 3.11 wraps a Ctrl-C that meets the creation of a class, as imports do all the time.
        if isinstance(error.__cause__, KeyboardInterrupt):
            os._exit(130)
        raise
    except BrokenPipeError:
        sys.exit(1)


def _open_chat(*, plain: bool) -> None:
    from .commands.chat import open_chat, open_plain
    from .commands.failures import reported

    with reported():
        (open_plain if plain else open_chat)(None)


if __name__ == "__main__":
    main()
