"""``mlxqwen`` and ``mlxqwen chat``: the chat on the screen, or line by line.

Without the command line's library: where nothing was asked for but the chat, that would be a
tenth of the time until one can type.
"""

from __future__ import annotations

import gc
import os
import sys

from mlxqwen.errors import UsageError

from .failures import DEBUG


def open_plain(model: str | None) -> None:
    """Chat line by line with ``model``, or the one used last. Raises UsageError in a pipe."""
    if not sys.stdin.isatty():
        raise UsageError(
            "The chat needs a terminal to be written in.", "In a pipe, use `mlxqwen ask`."
        )
    if model is not None:
        from mlxqwen.hub.library import resolve

        resolve(model)  # a wrong name is told before anything else
    gc.disable()  # as below
    from ..plain.run import run

    run(model)


def open_chat(model: str | None) -> None:
    """Open the chat with ``model``, or the one used last. Raises UsageError without a terminal."""
    if sys.stdin.isatty() and os.environ.get("TERM", "") in ("", "dumb"):
        raise UsageError(
            "The chat cannot be drawn here: the terminal says that it is dumb (TERM).",
            "`mlxqwen --plain` chats line by line.",
        )
    if sys.stdin.isatty() and sys.stdout.isatty() and not sys.stderr.isatty():
        raise UsageError(
            "The chat is drawn on standard error, which is not a terminal here.",
            "Leave out what redirects it, such as 2>file.",
        )
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "The chat needs a terminal for input and output.",
            "In a pipe, use `mlxqwen ask`.",
        )
    if model is not None:
        from mlxqwen.hub.library import resolve

        resolve(model)  # a wrong name is told before the screen changes
    # Nothing that a start makes is garbage, and looking for some takes a fifth of its time; the
    # chat looks again once it is on the screen.
    gc.disable()
    from ..app import run

    run(model, debug=bool(os.environ.get(DEBUG)))
