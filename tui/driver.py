"""What comes from the terminal: keys for Textual's parser, and pastes taken out before it.

Textual looks for escape sequences inside a paste as well and types what it does not understand,
key by key: a pasted carriage return would send, and a hundred kilobytes would take a minute.
"""

from __future__ import annotations

import asyncio
import codecs
import gc
import os
import re
import selectors
import signal
from collections.abc import Iterator
from time import monotonic, sleep

from textual import events

# The parser is private to Textual; a test guards what is relied on of it and of the base class.
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

_START, _END = "\x1b[200~", "\x1b[201~"
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)
_READ_BYTES = 65_536
_IDLE_SECONDS = 0.1
_BUSY_SECONDS = 0.02
_ESCAPE_SECONDS = 0.03  # a lone ESC is most likely the key
_MARKER_SECONDS = 0.5  # no key begins like a marker and stops half-way
_START_SECONDS = 5.0  # an application that shows nothing by then may still be told to end
_LOOK_SECONDS = 0.005
_PASTE_SECONDS = 10.0  # a paste whose end got lost must not swallow the keyboard for ever


def plain(text: str) -> str:
    """Pasted text with ``\\n`` for every kind of line end and no other control than the tab."""
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


class Pastes:
    """Takes bracketed pastes out of decoded terminal input, wherever reads cut it."""

    def __init__(self) -> None:
        self._held = ""  # the beginning of a marker, perhaps
        self._passed = 0  # how many characters of it were given up, and passed on already
        self._parts: list[str] | None = None  # the paste that is coming

    @property
    def patience(self) -> float | None:
        """Seconds of silence after which to ``give_up``; None where nothing is awaited."""
        if self._parts is not None:
            return _PASTE_SECONDS
        if self._passed == len(self._held):
            return None
        return _ESCAPE_SECONDS if self._held == _START[0] else _MARKER_SECONDS

    def feed(self, data: str) -> Iterator[str | events.Paste]:
        """The next input: yields what was typed as text, and every complete paste as one event."""
        text, passed = self._held + data, self._passed
        self._held, self._passed = "", 0
        while text:
            if self._parts is not None:
                inside, found, text = text.partition(_END)
                if not found:
                    kept = _unfinished(inside, _END)
                    self._parts.append(inside[: len(inside) - kept])
                    self._held = inside[len(inside) - kept :]
                    return
                self._parts.append(inside)
                yield self._paste()
                continue
            typed, found, rest = text.partition(_START)
            if found:
                self._parts = []
            else:
                cut = len(typed) - _unfinished(typed, _START)
                self._held, typed = typed[cut:], typed[:cut]
                self._passed = 0 if typed else passed
            if typed[passed:]:
                yield typed[passed:]
            text, passed = rest, 0

    def give_up(self) -> str | events.Paste:
        """After ``patience``: what was held back belongs to no marker; a paste ends as it is."""
        if self._parts is not None:
            self._parts.append(self._held)
            self._held = ""
            return self._paste()
        held = self._held[self._passed :]
        self._passed = len(self._held)
        return held

    def _paste(self) -> events.Paste:
        text = "".join(self._parts or [])
        self._parts = None
        return events.Paste(plain(text))


def _unfinished(text: str, marker: str) -> int:
    """How many characters at the end of ``text`` may be the beginning of ``marker``."""
    start = text.rfind(marker[0], -len(marker))
    return len(text) - start if start >= 0 and marker.startswith(text[start:]) else 0


class _Parser(XTermParser):
    """Textual's parser, which waits a tenth of a second after an ESC, whatever was waited before.

    What stops an answer has to be quicker; no terminal leaves such a gap inside a sequence.
    """

    @property
    def waiting(self) -> bool:
        """What came may be the beginning of a sequence."""
        return self._timeout_time is not None

    def hurry(self) -> None:
        """Wait no longer than a lone ESC deserves."""
        if self._timeout_time is not None:
            self._timeout_time = min(self._timeout_time, monotonic() + _ESCAPE_SECONDS)


class Input:
    """Bytes of a terminal to Textual's messages. None of them can break it."""

    def __init__(self, *, debug: bool = False) -> None:
        self._debug = debug
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pastes = Pastes()
        self._parser = _Parser(debug)

    @property
    def patience(self) -> float | None:
        """Seconds of silence after which to call ``give_up``; None where nothing is awaited."""
        return self._pastes.patience

    @property
    def waiting(self) -> bool:
        """Time matters: something is held back here, or in the parser."""
        return self._pastes.patience is not None or self._parser.waiting

    def feed(self, data: bytes) -> Iterator[Message]:
        """What ``data`` means; bytes that are not UTF-8 become U+FFFD."""
        for piece in self._pastes.feed(self._decoder.decode(data)):
            yield from self._messages(piece)

    def give_up(self) -> Iterator[Message]:
        """What was held back means nothing special."""
        yield from self._messages(self._pastes.give_up())
        self._parser.hurry()

    def tick(self) -> Iterator[Message]:
        """Keys that could have been the beginning of a sequence, and were not."""
        yield from self._parser.tick()

    def _messages(self, piece: str | events.Paste) -> Iterator[Message]:
        if isinstance(piece, events.Paste):
            yield piece
        elif piece:  # the parser takes an empty text for the end
            try:
                yield from self._parser.feed(piece)
            except (ValueError, OverflowError):
                # A sequence with a number beyond Unicode ends Textual's parser for good.
                last, self._parser = self._parser, _Parser(self._debug)
                self._parser.mouse_pixels = last.mouse_pixels
                self._parser.terminal_size = last.terminal_size
                self._parser.terminal_pixel_size = last.terminal_pixel_size


class TerminalDriver(LinuxDriver):
    """Textual's driver for Linux and macOS, with an input no paste and no byte can break."""

    _listening = False

    def start_application_mode(self) -> None:
        """Take the terminal, and see to it that it is given back whatever ends the program."""
        super().start_application_mode()
        loop = asyncio.get_running_loop()
        for number in _ENDINGS:
            loop.add_signal_handler(number, self._end, number)

    def stop_application_mode(self) -> None:
        """Give the terminal back."""
        loop = asyncio.get_running_loop()
        for number in _ENDINGS:
            loop.remove_signal_handler(number)
        super().stop_application_mode()

    def _end(self, number: int) -> None:
        """Leave as if by hand, everything saved: the default would leave the terminal raw."""
        self._app.exit(return_code=128 + number)

    def run_input_thread(self) -> None:
        """Read until the application ends, or its terminal is gone."""
        self._await_focus()
        source = Input(debug=self._debug)
        silence = 0.0
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                patience = source.patience
                wait = _BUSY_SECONDS if source.waiting else _IDLE_SECONDS
                messages: Iterator[Message] = iter(())
                if selector.select(wait):
                    silence = 0.0
                    data = self._read()
                    if not data:
                        self._app.call_later(self._app.exit, return_code=1)
                        return
                    messages = source.feed(data)
                elif patience is not None:
                    silence += wait
                    if silence >= patience:
                        messages = source.give_up()
                for message in messages:
                    self.process_message(message)
                for message in source.tick():
                    self.process_message(message)

    def _await_focus(self) -> None:
        """Leave in the terminal what is typed before there is anything to type it into.

        Textual drops keys that come before a widget has the focus, and with them the first words
        of a person who knows what they want to ask.
        """
        deadline = monotonic() + _START_SECONDS
        while not self._listening:
            focused = bool(self._app.screen_stack) and self._app.focused is not None
            self._listening = focused or monotonic() > deadline or self.exit_event.is_set()
            if not self._listening:
                sleep(_LOOK_SECONDS)
        # Modules, widgets and styles are there to stay. To look through all of them for garbage,
        # as Python does every second while an answer streams, takes 20 to 40 ms each time.
        gc.freeze()

    def _read(self) -> bytes:
        """What is there; nothing where the terminal is gone."""
        try:
            return os.read(self.fileno, _READ_BYTES)
        except OSError:
            return b""
