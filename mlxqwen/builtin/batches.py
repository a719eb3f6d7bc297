"""Rows of tokens to train on, each drawn from (seed, step) alone, so that a run can be resumed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tokenizers import Tokenizer

from ..text.template import ChatTemplate
from .corpus import LANGUAGES, Dialogue, Dialogues, prose
from .vocabulary import END_OF_TEXT, TEMPLATE, TURN_START, token_id

# What a question teaches is small beside what an answer teaches, but it is language too: so many of
# the prompts count.
_PROMPT_SHARE = 0.1
# <|im_start|>, the role and a line break come before what a turn says.
_HEADER = 3


@dataclass(frozen=True, slots=True)
class Row:
    """``tokens`` (L + 1,) and whether predicting each of ``tokens[1:]`` counts, ``counts`` (L,)."""

    tokens: list[int]
    counts: list[bool]


class Batches:
    """Draws rows: packed dialogues for the most part, passages of the books for the rest."""

    def __init__(self, tokenizer: Tokenizer, seed: int, chat_share: float) -> None:
        self._tokenizer = tokenizer
        self._seed = seed
        self._chat_share = chat_share
        self._template = ChatTemplate(TEMPLATE.read_text(encoding="utf-8"))
        self._dialogues = Dialogues()
        self._end = token_id(tokenizer, END_OF_TEXT)
        self._start = token_id(tokenizer, TURN_START)
        self._books = [self._encode(prose(language)) for language in LANGUAGES]

    def draw(self, step: int, rows: int, length: int) -> list[Row]:
        """The ``rows`` rows of ``length`` predictions that step ``step`` trains on."""
        drawn: list[Row] = []
        for index in range(rows):
            rng = random.Random(f"{self._seed} {step} {index}")
            chat = rng.random() < self._chat_share
            drawn.append(self._chat(rng, length) if chat else self._passage(rng, length))
        return drawn

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def _passage(self, rng: random.Random, length: int) -> Row:
        book = rng.choice(self._books)
        start = rng.randrange(len(book) - length)
        return Row(book[start : start + length + 1], [True] * length)

    def _chat(self, rng: random.Random, length: int) -> Row:
        """Dialogues one after the other until the row is full; the last one is cut."""
        tokens: list[int] = []
        counts: list[bool] = []
        while len(tokens) <= length:
            prompt, reply = self.encode_dialogue(self._dialogues.draw(rng))
            counted = [rng.random() < _PROMPT_SHARE] * len(prompt)
            for at, token in enumerate(prompt):
                # Whether a reply opens with a thought shows only in the last turn: earlier ones
                # are rendered without theirs and must not teach how to begin.
                if token == self._start and at + _HEADER < len(counted):
                    counted[at + _HEADER] = False
            tokens += [*prompt, *reply, self._end]
            counts += [*counted, *([True] * len(reply)), False]
        return Row(tokens[: length + 1], counts[1 : length + 1])

    def encode_dialogue(self, dialogue: Dialogue) -> tuple[list[int], list[int]]:
        """Prompt and reply, rendered by the very template that chatting uses."""
        *before, last = dialogue.messages
        thinks = dialogue.thought is not None
        prompt = self._template.render(before, enable_thinking=thinks)
        whole = self._template.render(
            [*before, {**last, "reasoning_content": dialogue.thought or ""}],
            add_generation_prompt=False,
        )
        return self._encode(prompt), self._encode(whole[len(prompt) :])
