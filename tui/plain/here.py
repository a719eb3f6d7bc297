"""What a command of the linear chat works with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..adjust import Said
from ..units import whole
from ..words import say
from .chat import PlainChat
from .keyboard import Keyboard, read_message


@dataclass(slots=True)
class Here:
    """The chat and the keyboard; ``leaving`` ends the conversation with the program."""

    chat: PlainChat
    keys: Keyboard
    leaving: bool = False

    def ask(self, prompt: str, prefill: str = "") -> str:
        """What a person writes; what comes up meanwhile is said after it.

        Raises EOFError at the end of input, and KeyboardInterrupt.
        """
        output = self.chat.output
        output.hold()
        whole = False
        try:
            text = read_message(self.keys, prompt, say("plain.more"), prefill)
            whole = True
        finally:
            output.release(at_start=whole)
        return text

    def number(self, count: int) -> int | None:
        """A number from 1 to ``count`` as an index from 0; None where one is not wanted."""
        try:
            text = self.ask(say("plain.number")).strip()
        except EOFError:
            return None  # Ctrl+D leaves the list; where the terminal is gone, the next line says so
        if not text:
            return None
        number = whole(text)
        if number is None or not 1 <= number <= count:
            self.chat.say("plain.no_number", text=text)
            return None
        return number - 1

    def choose(self, lines: Sequence[str], argument: str = "") -> int | None:
        """The index of the line that is chosen by its number, of which ``argument`` may be one."""
        wanted = whole(argument)
        if wanted is not None and 1 <= wanted <= len(lines):
            return wanted - 1
        for number, line in enumerate(lines, 1):
            self.chat.say("plain.listed", number=number, text=line)
        return self.number(len(lines))

    def tell(self, said: Said | None) -> None:
        """Say what a command has to say."""
        if said is None:
            return
        if said.title:
            self.chat.say("plain.role", name=said.title)
            self.chat.output.line(said.text)
        else:
            self.chat.view.say(said.text, said.severity)
