"""The linear chat from its first line to its last: read, do, say, until one leaves."""

from __future__ import annotations

import gc
import sys
from io import TextIOWrapper
from pathlib import Path
from time import monotonic
from typing import cast

from mlxqwen.errors import MlxqwenError

from .. import keys, words
from ..actions import slash
from ..actions.table import ACTIONS
from ..archive import Archive
from ..bridge import Bridge
from ..settings import conversations_file, read_settings, settings_file
from ..words import say
from . import commands, write
from .chat import PlainChat
from .here import Here
from .interrupts import Interrupts
from .keyboard import Keyboard, keyboard
from .output import Output

_KEYS = {"stop": "ctrl+c"}
_LEAVE_SECONDS = 2.0
"""Ctrl+C in an empty line, twice within this time, leaves."""


def run(
    model: str | None = None,
    *,
    conversations: Path | None = None,
    settings: Path | None = None,
    bridge: Bridge | None = None,
) -> None:
    """Chat line by line until the person leaves; standard input has to be a terminal.

    Raises ``OutputError`` if the conversations cannot be opened. A signal that ends the process
    does so after everything is saved.
    """
    settings_path = settings or settings_file()
    opened = read_settings(settings_path)
    words.use(opened.settings.language or words.system_language())
    # What is said of keys is said of what one does here in their place.
    keys.use({action.name: action.slash or _KEYS.get(action.name, "") for action in ACTIONS})
    cast(TextIOWrapper, sys.stdout).reconfigure(errors="replace")
    names: list[str] = []
    board = keyboard(lambda line: commands.complete(line, names))
    output = Output(sys.stdout)
    interrupts = Interrupts(board.typed)
    archive = Archive(conversations or conversations_file())
    with interrupts.installed():
        chat = PlainChat(
            archive, bridge or Bridge(), output, interrupts, opened.settings, settings_path
        )
        output.line(say("plain.hello"))
        for complaint in opened.complaints:
            chat.view.say(complaint, "warning")
        with chat:
            for text in reversed(chat.do(chat.session.history())):
                board.remember(text)
            names += chat.do(chat.start(model))
            # Whoever opened the chat may have put off looking for garbage: see ``commands.chat``.
            gc.freeze()
            gc.enable()
            _converse(Here(chat, board))
        if chat.session.saved:
            output.line(say("plain.bye"))


def _converse(here: Here) -> None:
    chat, pressed = here.chat, -_LEAVE_SECONDS
    while not here.leaving and not chat.output.gone:
        draft = _offer(here.chat, here.keys)
        try:
            text = here.ask(say("plain.you"), draft)
            _do(here, text)
        except EOFError:
            return
        except KeyboardInterrupt:
            # A line that had something in it is cleared, and no more.
            if chat.interrupts.typed:
                continue
            if monotonic() - pressed < _LEAVE_SECONDS:
                return
            pressed = monotonic()
            chat.say("plain.leave_again")
        except MlxqwenError as error:
            chat.view.say(str(error), "error")


def _do(here: Here, text: str) -> None:
    if not text.strip() and not here.chat.attachments:
        return
    meant = commands.parse(text)
    match meant:
        case commands.Command():
            here.keys.remember(text)
            commands.carry_out(here, meant)
        case slash.Text(said):
            write.send(here, said)
        case slash.Unknown():
            commands.not_known(here, meant)


def _offer(chat: PlainChat, board: Keyboard) -> str:
    """What the line begins with; where it cannot begin with anything, that is said."""
    draft, chat.draft = chat.draft, ""
    if draft and not board.prefills:
        chat.say("plain.draft", text=draft)
        return ""
    return draft
