"""Conversations as their checkpoint's template renders them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import TemplateError, UsageError
from ..text.template import ChatTemplate, close_thinking
from ..text.tokenizer import Tokenizer
from .messages import Message, plain_message


@dataclass(frozen=True, slots=True)
class Rendering:
    """Messages in plain form with all that their rendering depends on.

    ``prompt`` is what the model reads before it answers.
    """

    messages: Sequence[Message]
    prompt: str
    _template: ChatTemplate
    _tools: Sequence[Mapping[str, Any]]
    _variables: Mapping[str, Any]

    def without_answer(self) -> str:
        """The same conversation with no answer opened at its end."""
        return self._template.render(
            self.messages, tools=self._tools, add_generation_prompt=False, **self._variables
        )


def rendering(
    tokenizer: Tokenizer,
    model: str,
    messages: str | Sequence[Message],
    tools: Sequence[Mapping[str, Any]],
    think: bool | int | None,
) -> Rendering:
    """Render a question, or messages; ``model`` is the name that errors speak of.

    Raises:
        TemplateError: there is no chat template, or it refuses the conversation.
        UsageError: a thinking budget below 0, an unknown role, or parts that are no text.
    """
    if think is not None and think < 0:
        raise UsageError(f"The thinking budget is {think}; it cannot be below 0.")
    template = tokenizer.chat_template
    if template is None:
        raise TemplateError(
            f"{model} has no chat template.",
            "It is a base model: use complete(), or an instruction-tuned model.",
        )
    asked = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    listed = [plain_message(message) for message in asked]
    variables = {} if think is None else {"enable_thinking": bool(think)}
    prompt = template.render(listed, tools=tools, **variables)
    if think is not None and not think:
        prompt = close_thinking(prompt)
    return Rendering(listed, prompt, template, tools, variables)
