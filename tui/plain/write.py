"""Commands about messages: ask again, edit, attach, write in an editor, copy, read, export."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

from mlxqwen.errors import UsageError

from ..actions.slash import typed
from ..attachments import read as read_attachment
from ..editor import editor_command
from ..export import export as write_export
from ..export import order
from ..records import Message
from ..units import whole
from ..views import one_line
from ..words import say
from . import clipboard
from .here import Here
from .reading import read as read_messages
from .speaker import code_blocks


def send(here: Here, text: str) -> None:
    """Ask, and wait for the answer. What could not be stored is there to be sent again."""
    chat = here.chat
    here.keys.remember(typed(text))
    attachments, chat.attachments = chat.attachments, []
    if not chat.answered(chat.session.send(text, attachments)):
        chat.draft, chat.attachments = typed(text), attachments


def regenerate(here: Here, argument: str) -> None:
    """Another answer to the last question."""
    here.chat.answered(here.chat.session.regenerate())


def continue_(here: Here, argument: str) -> None:
    """Go on with an answer that was cut off."""
    here.chat.answered(here.chat.session.continue_())


def edit(here: Here, argument: str) -> None:
    """The last question written anew, in a branch of its own."""
    chat = here.chat
    asked = [message for message in chat.session.branch if message.role == "user"]
    if not asked:
        chat.say("session.nothing_to_edit")
        return
    text = argument.strip()
    if not text and here.keys.prefills:
        chat.say("plain.edit_first")
        text = here.ask(say("plain.you"), asked[-1].text)
    elif not text:
        chat.say("plain.edit_now", text=asked[-1].text)
        text = here.ask(say("plain.edit_prompt"))
    if text.strip() and text != asked[-1].text:
        here.keys.remember(text)
        chat.answered(chat.session.edit(asked[-1].id, text))


def attach(here: Here, argument: str) -> None:
    """A file or a folder for the next message."""
    path = argument.strip()
    if not path:
        here.chat.say("attach.which")
        return
    if path[0] in "'\"" and path[-1] == path[0]:
        path = path[1:-1]
    try:
        found = here.chat.do(asyncio.to_thread(read_attachment, Path(path)))
    except UsageError as error:
        here.chat.view.say(str(error), "warning")
        return
    here.chat.attachments.append(found)
    here.chat.say("plain.attached", name=one_line(found.name))
    for reason in found.skipped:
        here.chat.view.say(reason, "warning")


def editor(here: Here, argument: str) -> None:
    """A message written in the person's own editor."""
    chat = here.chat
    command = editor_command()
    if not command:
        chat.say("editor.none")
        return
    try:
        with tempfile.TemporaryDirectory(prefix="mlxqwen-") as folder:
            path = Path(folder) / "message.md"
            path.write_text(argument, encoding="utf-8", errors="replace")
            with chat.interrupts.busy(bool):  # the editor has its own Ctrl+C
                status = subprocess.run([*command, str(path)], check=False).returncode
            if status:
                raise OSError(say("editor.status", status=status))
            text = path.read_text(encoding="utf-8", errors="replace").strip("\n")
    except OSError as error:
        reason = error.strerror or str(error)
        chat.view.say(say("editor.failed", name=command[0], reason=reason), "error")
        return
    if text.strip():
        chat.output.line(say("plain.you") + text)
        send(here, text)
    else:
        chat.say("plain.editor_empty")


def copy(here: Here, argument: str) -> None:
    """The last answer, or a code block of it, to the clipboard."""
    chat, wanted = here.chat, argument.strip()
    answers = [message for message in chat.session.branch if message.role == "assistant"]
    if not answers:
        chat.say("message.none_to_copy")
        return
    text = answers[-1].text
    number = whole(wanted)
    if wanted and number is None:
        chat.say("message.which_code", word=one_line(wanted))
        return
    if number is not None:
        blocks = code_blocks(text)
        if not 1 <= number <= len(blocks):
            chat.say("message.no_code", number=number)
            return
        text = blocks[number - 1]
    if not clipboard.copy(text):
        chat.say("plain.no_clipboard")
    elif number is not None:
        chat.say("chat.code_copied", number=number)
    else:
        chat.say("chat.copied")


def read(here: Here, argument: str) -> None:
    """The last message again, message N, or all."""
    chat, wanted = here.chat, argument.strip().lower()
    branch: list[Message] = list(chat.session.branch)
    last = len(branch)
    if not branch:
        chat.say("plain.read_nothing")
    elif wanted == "all":
        chat.do(read_messages(chat, 0, last))
    elif not wanted:
        chat.do(read_messages(chat, last - 1, last))
    elif (number := whole(wanted)) is not None and 1 <= number <= last:
        chat.do(read_messages(chat, number - 1, number))
    else:
        chat.say("plain.read_which", count=last)


def export(here: Here, argument: str) -> None:
    """The open chat as a file."""
    chat = here.chat
    conversation, wanted = chat.session.conversation, order(argument)
    if wanted is None:
        chat.say("export.formats", word=one_line(argument).partition(" ")[0])
    elif conversation is None:
        chat.say("export.nothing")
    else:
        work = partial(
            write_export,
            chat.archive.path,
            conversation.id,
            wanted.format,
            wanted.file,
            folder=Path.cwd(),
            now=time.time(),
        )
        chat.say("export.done", path=chat.do(asyncio.to_thread(work)))
