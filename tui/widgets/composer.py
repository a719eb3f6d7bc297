"""Where a message is made: what is attached to it, what completes it, and the box itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message

from mlxqwen.errors import UsageError

from ..actions.slash import typed
from ..attachments import Attachment, dropped, is_long, pasted, read
from ..records import Attachment as Stored
from ..records import Draft, together
from ..records import Message as SentBefore
from ..views import one_line
from ..words import say
from .chips import Chips
from .completion import Completion
from .history import History
from .prompt import Prompt, Suggest

Own = Callable[[], Sequence[SentBefore]]
_REASONS = 4


class Composer(Vertical):
    """Chips above the prompt; sends what both hold. Up and Down walk what was sent.

    Args:
        suggest: What may complete a line that begins with a slash.
        known: Names of the actions a command may ask for.
        own: The open branch's messages that may be edited, oldest first.
    """

    @dataclass
    class Sent(Message):
        """A message is ready; ``editing`` is the one it is another version of, if any."""

        text: str
        attachments: tuple[Attachment, ...]
        editing: int | None

    class Changed(Message):
        """Something was attached, or is no more."""

    def __init__(
        self, suggest: Suggest, known: Container[str], own: Own, *, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self._own = own
        self._stash = Draft()  # what was being written when a sent message was taken up
        self._untouched = ""  # the text of the message being edited, as it was
        self._editing: int | None = None
        self._pastes = 0
        self.history = History()
        self.attachments: list[Attachment] = []
        self._completion = Completion(id="completion")
        self._chips = Chips(id="chips")
        self.prompt = Prompt(self, say("chat.ask"), self._completion, suggest, known, id="prompt")

    def compose(self) -> ComposeResult:
        """The popup lies over what is above."""
        yield self._completion
        yield self._chips
        yield self.prompt

    @property
    def editing(self) -> int | None:
        """The message of which another version is being written."""
        return self._editing

    @property
    def draft(self) -> Draft:
        """What is written and not sent, without a message that is only looked at."""
        kept = tuple(Stored(part.name, part.text, part.mime) for part in self.attachments)
        if self._editing is None:
            return Draft(self.history.unsent(self.prompt.text), kept)
        if not self._is_changed:
            return self._stash
        return together([self._stash, Draft(typed(self.prompt.text), kept)])

    @property
    def _is_changed(self) -> bool:
        """The message being edited says something else than it did."""
        return self.prompt.text not in ("", self._untouched)

    def translate(self) -> None:
        """Speak another language."""
        self.prompt.placeholder = say("chat.ask")
        self.prompt.border_title = say("prompt.editing") if self._editing is not None else ""
        self._chips.present(self.attachments)

    def open(self, draft: Draft) -> None:
        """Another conversation: show its draft."""
        self._leave()
        self.history.stop()
        self._put(draft)

    def edit(self, message: SentBefore) -> None:
        """Write another version of a message; what was being written comes back after it."""
        self._take_up(message.id, message.text)
        self._put(Draft(message.text, message.attachments))

    def _take_up(self, message_id: int, untouched: str) -> None:
        if self._editing is None:
            self._stash = self.draft
        self.history.stop()
        self._editing, self._untouched = message_id, untouched
        self.prompt.literal = True
        self.prompt.add_class("-editing")
        self.prompt.border_title = say("prompt.editing")
        self.prompt.focus()

    def leave_editing(self) -> bool:
        """Back to what was being written; False where nothing was edited."""
        if self._editing is None:
            return False
        if self._is_changed:
            self.history.add(typed(self.prompt.text))  # for who did not mean to leave it
        stash = self._stash
        self._leave()
        self._put(stash)
        return True

    def give_back(self, sent: Sent) -> None:
        """Take a message that could not be sent into the box again."""
        if sent.editing is not None and self._editing is None:
            self._take_up(sent.editing, "")  # not the stored text: it must not be walked away from
            self.prompt.put(sent.text)
            self._attach_only(sent.attachments)
            return
        self.prompt.give_back(typed(sent.text))
        self._attach_only([*sent.attachments, *self.attachments])

    def attach(self, attachment: Attachment) -> None:
        """Send ``attachment`` with the next message, and say what was left out of it."""
        name = one_line(attachment.name)
        if attachment in self.attachments:
            self.notify(say("attach.twice", name=name), markup=False)
            return
        self._attach_only([*self.attachments, attachment])
        if attachment.skipped:
            reasons = list(attachment.skipped[:_REASONS])
            if len(attachment.skipped) > _REASONS:
                rest = len(attachment.skipped) - _REASONS
                reasons.append(say("attach.skipped_more", number=rest))
            words = say("attach.skipped", name=name, reasons=", ".join(reasons))
            self.notify(words, severity="warning", markup=False, timeout=12)

    async def attach_files(self, paths: Iterable[Path]) -> list[Path]:
        """Read files and folders and attach them; returns those that were refused, with reasons
        said."""
        refused: list[Path] = []
        for path in paths:
            try:
                self.attach(await asyncio.to_thread(read, path))
            except UsageError as error:
                refused.append(path)
                self.notify(str(error), severity="error", markup=False, timeout=8)
        return refused

    # What the prompt says

    def submit(self, text: str) -> None:
        """Send what is in the box, and what is attached."""
        sent = self.Sent(text, tuple(self.attachments), self._editing)
        waiting = self._stash.text or self._waiting()
        if sent.editing is None and text:
            self.history.add(typed(text))
        stash = self._stash
        self._leave()
        if waiting:
            self.prompt.give_back(waiting)
        self._attach_only(_unpacked(stash))
        self.post_message(sent)

    @on(Prompt.Commanded)
    def _commanded(self, event: Prompt.Commanded) -> None:
        waiting = self._waiting()
        self.history.add(event.command.text)
        if waiting:
            self.prompt.give_back(waiting)

    def _waiting(self) -> str:
        """What was being written when the walk to what is sent now began."""
        return self.history.draft.strip("\n") if self.history.walking else ""

    def take_off(self) -> None:
        """Attach the last thing no more."""
        if self.attachments:
            self._attach_only(self.attachments[:-1])

    @on(Chips.Removed)
    def _removed(self, event: Chips.Removed) -> None:
        self._attach_only([a for i, a in enumerate(self.attachments) if i != event.index])
        self.prompt.focus()

    @on(Completion.Clicked)
    def _clicked(self, event: Completion.Clicked) -> None:
        self.prompt.take(event.suggestion, run=True)

    def paste(self, text: str) -> None:
        """Attach what is long, and files that were dragged here; write the rest."""
        if is_long(text):
            self._pastes += 1
            self.attach(pasted(text, self._pastes))
        elif paths := dropped(text):
            self.run_worker(self._take_dropped(paths, text))
        else:
            self.prompt.insert_pasted(text)

    async def _take_dropped(self, paths: Sequence[Path], text: str) -> None:
        if len(await self.attach_files(paths)) == len(paths):
            self.prompt.insert_pasted(text)  # perhaps the path itself was meant

    def walk(self, step: int) -> None:
        """Up and Down: through the branch's questions while one is edited, else what was sent."""
        prompt = self.prompt
        if self._editing is not None and prompt.text == self._untouched:
            self._walk_own(step)
            return
        own = self._own()
        if step < 0 and prompt.is_empty and not self.history.walking and own:
            self.edit(own[-1])
            return
        text = None
        if self._editing is None:
            walk = self.history.older if step < 0 else self.history.newer
            text = walk(prompt.text)
        if text is not None:
            prompt.put(text)
        elif step < 0:
            prompt.action_cursor_line_start()
        else:
            prompt.action_cursor_line_end()

    def _walk_own(self, step: int) -> None:
        own = self._own()
        places = [place for place, message in enumerate(own) if message.id == self._editing]
        place = places[0] + step if places else -1
        if 0 <= place < len(own):
            self.edit(own[place])
            return
        self.leave_editing()
        if step < 0:
            said = {message.text for message in own}
            text = self.history.older(self.prompt.text)
            while text in said:
                text = self.history.older(text)
            if text is None:
                self.history.stop()
            else:
                self.prompt.put(text)

    def _leave(self) -> None:
        self._editing, self._stash = None, Draft()
        self.prompt.literal = False
        self.prompt.remove_class("-editing")
        self.prompt.border_title = ""

    def _put(self, draft: Draft) -> None:
        self.prompt.put(draft.text)
        self._attach_only(_unpacked(draft))

    def _attach_only(self, attachments: Sequence[Attachment]) -> None:
        self.attachments = list(attachments)
        self.prompt.bare = bool(attachments)
        if not self.attachments:
            self._pastes = 0
        self._chips.present(self.attachments)
        self.post_message(self.Changed())


def _unpacked(draft: Draft) -> list[Attachment]:
    return [Attachment(kept.name, kept.text, kept.mime) for kept in draft.attachments]
