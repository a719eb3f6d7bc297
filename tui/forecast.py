"""What sending would take: asked of the engine while one writes, and before anything is sent.

The newest forecast is the one that counts. It never delays a key or an answer: it is asked for once
a person has paused, and the engine tells it beside whatever else it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from mlxqwen.engine.events import Forecast

from .bridge import Bridge, Forecasted
from .keys import key_name
from .units import count, size
from .words import say

PAUSE_SECONDS = 0.3
"""How long nothing must have been typed before the engine is asked."""
WAIT_SECONDS = 2.0
"""How long sending waits for a forecast that it needs."""
_LOOK_SECONDS = 0.01
_BYTES_OF_TURN = 64  # more than the tokens that a template puts around a message


@dataclass(frozen=True, slots=True)
class Question:
    """What would be sent now. ``draft`` is the part of it that is being written."""

    messages: Sequence[Mapping[str, str]] = ()
    think: bool | int | None = None
    max_tokens: int | None = None
    draft: str = ""

    @property
    def most_tokens(self) -> int:
        """A number of tokens that it certainly does not exceed: no token is less than a byte."""
        said = sum(len(message["content"].encode(errors="replace")) for message in self.messages)
        return said + _BYTES_OF_TURN * (len(self.messages) + 4)


@dataclass(frozen=True, slots=True)
class Size:
    """Tokens of a draft, counted, or estimated as long as they are not ``exact``."""

    tokens: int
    exact: bool

    def __str__(self) -> str:
        words = say("forecast.token" if self.tokens == 1 else "forecast.tokens", n=self.tokens)
        return words if self.exact else f"~{words}"


class Outlook:
    """The newest forecast, and whether it speaks of what is written now.

    Args:
        question: What would be sent if it were sent now.
        changed: Called when there is something new to show.
    """

    def __init__(
        self, bridge: Bridge, question: Callable[[], Question], changed: Callable[[], None]
    ) -> None:
        self._bridge = bridge
        self._question = question
        self._changed = changed
        self._asked: Question | None = None
        self._request: int | None = None  # not answered yet
        self._timer: asyncio.TimerHandle | None = None
        self._turned = False  # what was foreseen is about another branch
        self.latest: Forecast | None = None
        """What was foreseen last, perhaps for another draft or branch."""

    @property
    def asking(self) -> bool:
        """Something is to be asked, or to be answered."""
        return self._timer is not None or self._request is not None

    @property
    def used(self) -> int | None:
        """Tokens of the open branch with the draft; None where that is not known."""
        return None if self._turned or self.latest is None else self.latest.prompt_tokens

    def size_of(self, draft: str) -> Size | None:
        """How large ``draft`` is; None where nothing is written."""
        if not draft.strip():
            return None
        asked = self._asked
        if self.latest and asked and self._request is None and asked.draft == draft:
            return Size(self.latest.draft_tokens, exact=True)
        return Size(max(1, len(draft.encode(errors="replace")) // 4), exact=False)

    def refresh(self) -> None:
        """Something was typed: ask anew, once there was a pause."""
        self._look_after(PAUSE_SECONDS)

    def turn(self) -> None:
        """The branch has changed: ask anew at once."""
        self._turned = True
        self._look_after(0)

    def forget(self) -> None:
        """Nothing that was foreseen holds any more."""
        self._asked = self._request = self.latest = None

    def close(self) -> None:
        """Ask no more."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def take(self, event: Forecasted) -> None:
        """Take in what the engine said."""
        if event.request == self._request:
            self._request = None
            self._turned = False
            self.latest = event.forecast
            self._changed()

    async def refusal(self, question: Question, pump: Callable[[], None]) -> str:
        """Why ``question`` cannot be answered and what to do about it; "" if it can be.

        Waits for the engine only where there is doubt. ``pump`` takes in what the engine said.
        Where it says nothing the question may be sent: the engine itself refuses it then.
        """
        context = self.latest.context if self.latest else 0
        roomy = self.latest is not None and self.latest.fits
        if roomy and question.most_tokens < context:
            return ""
        self._ask(question)
        deadline = monotonic() + WAIT_SECONDS
        while self._request is not None and self._bridge.alive and monotonic() < deadline:
            pump()
            await asyncio.sleep(_LOOK_SECONDS)
        foreseen = self.latest if self._request is None else None
        return "" if foreseen is None or foreseen.fits else refusal_of(foreseen)

    def _look_after(self, seconds: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        self._ask(self._question())

    def _ask(self, question: Question) -> None:
        if question == self._asked and (self._request is not None or self.latest):
            self._turned = False
            return
        self._asked, self._request = question, None
        if question.messages:
            self._request = self._bridge.forecast(
                question.messages, think=question.think, max_tokens=question.max_tokens
            )
        if self._request is None:
            self.latest = None
            self._changed()


def refusal_of(foreseen: Forecast) -> str:
    """A sentence that says what does not fit, and one with the next step."""
    if foreseen.prompt_tokens >= foreseen.context:
        what = say(
            "forecast.full",
            tokens=count(foreseen.prompt_tokens),
            context=count(foreseen.context),
        )
    else:
        what = say("forecast.memory", needed=size(foreseen.needed), budget=size(foreseen.budget))
    step = say(
        f"forecast.{foreseen.advice}",
        larger=foreseen.larger_context,
        new=key_name("new"),
        models=key_name("models"),
    )
    return f"{what} {step}"


def context_of(text: str) -> int | None:
    """Tokens that ``text`` asks for, such as 16384 or 16k; 0 for "auto", None for nonsense."""
    text = text.strip().lower()
    if text == "auto":
        return 0
    number = text.removesuffix("k")
    if not (number.isascii() and number.isdigit() and len(number) < 8):
        return None
    tokens = int(number) * (1024 if text.endswith("k") else 1)
    return tokens or None
