"""The checkpoint's own chat template: messages in, prompt text out.

The template is Jinja, rendered as Hugging Face ``apply_chat_template`` renders it (same options,
helpers and variables), so that the prompt equals the one the model was trained on. It is untrusted:
see ``sandbox`` for what bounds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, cast

import jinja2

from ..errors import TemplateError
from .budget import Budget, BudgetSpent, within
from .sandbox import Refused, TemplateEnvironment

_T = TypeVar("_T")
_MAX_SOURCE = 256 * 1024  # characters; the longest template of the family has 7,000
_BASE_UNITS = 400_000  # of work per render, whatever the conversation; well under a second
_UNITS_PER_INPUT = 256  # further units for each value and each 64 characters of the conversation

# What Python can raise out of a template's own expressions: wrong types, missing keys, recursion.
_FAULTS = (
    jinja2.TemplateError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NameError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


@cache
def _environment() -> TemplateEnvironment:
    return TemplateEnvironment()


class ChatTemplate:
    """A compiled chat template.

    Args:
        source: Jinja source of the template.
        tool_use: Source of the template to use instead when tools are given, where the
            checkpoint has one apart.
        special_tokens: Variables such as ``bos_token`` and ``eos_token``.

    Raises:
        TemplateError: The source does not compile.
    """

    def __init__(
        self,
        source: str,
        *,
        tool_use: str | None = None,
        special_tokens: Mapping[str, Any] | None = None,
    ) -> None:
        self.source = source
        self._template = _compile(source)
        self._tool_template = self._template if tool_use is None else _compile(tool_use)
        self._special_tokens = dict(special_tokens or {})

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> str:
        """The prompt for a conversation.

        Args:
            messages: Dictionaries with ``role``, ``content`` and what else the template reads
                (``reasoning_content``, ``tool_calls``).
            tools: JSON descriptions of the functions the model may call.
            add_generation_prompt: Whether to open the assistant's turn at the end.
            **variables: Further variables of the template, such as ``enable_thinking``.

        Raises:
            TemplateError: The template refuses the conversation, fails, or does more work than
                a conversation of this size can need.
        """
        size = _Counter()
        values = {
            **self._special_tokens,
            "documents": None,
            **{name: size.plain(value) for name, value in variables.items()},
            "messages": size.plain(messages),
            "tools": size.plain(tools) if tools else None,
            "add_generation_prompt": add_generation_prompt,
        }
        template = self._tool_template if tools else self._template
        budget = Budget(_BASE_UNITS + _UNITS_PER_INPUT * size.units)
        return _guarded(budget, lambda: template.render(values), "cannot render this conversation")


def opens_thinking(prompt: str) -> bool:
    """Whether a rendered prompt ends inside an open ``<think>``.

    Only the turn that the prompt leaves open counts: a ``<think>`` that a user typed earlier, or
    one in a turn that ``<|im_end|>`` has closed, opens nothing.
    """
    start = prompt.rfind("<|im_start|>")
    if start < 0:
        return prompt.rstrip().endswith("<think>")
    turn = prompt[start + len("<|im_start|>") :]
    if not turn.startswith("assistant") or "<|im_end|>" in turn:
        return False
    return turn.rfind("<think>") > turn.rfind("</think>")


def close_thinking(prompt: str) -> str:
    """``prompt`` with the thought that it opens closed again, empty, as Qwen3's template does.

    For templates that open a thought whatever ``enable_thinking`` says (QwQ, Thinking-2507).
    """
    if not opens_thinking(prompt):
        return prompt
    return f"{prompt.rstrip()}\n\n</think>\n\n"


class _Counter:
    """Copies a conversation into plain values and counts them.

    The copy keeps a template away from the caller's objects, and lets mappings of any kind pass
    through ``tojson``.
    """

    def __init__(self) -> None:
        self.units = 0

    def plain(self, value: Any) -> Any:
        self.units += 1
        if isinstance(value, str):
            self.units += len(value) >> 6
            return value
        if isinstance(value, Mapping):
            pairs = cast(Mapping[Any, Any], value)
            return {self.plain(key): self.plain(item) for key, item in pairs.items()}
        if isinstance(value, Sequence) and not isinstance(value, bytes):
            items = cast(Sequence[Any], value)
            return [self.plain(item) for item in items]
        return value


def _compile(source: str) -> jinja2.Template:
    if len(source) > _MAX_SOURCE:
        raise TemplateError(
            f"The chat template has {len(source):,} characters; no template needs that many.",
            "Check chat_template in tokenizer_config.json.",
        )
    return _guarded(
        Budget(_BASE_UNITS), lambda: _environment().compiled(source), "does not compile"
    )


def _guarded(budget: Budget, work: Callable[[], _T], failure: str) -> _T:
    try:
        return within(budget, work)
    except Refused as error:
        raise TemplateError(
            f"The chat template refuses this conversation: {_sentence(error)}",
            "Change the messages or tools as it asks.",
        ) from error
    except BudgetSpent as error:
        raise TemplateError(
            "The chat template does not end: it does far more work than this conversation needs.",
            "The template in the model's folder is damaged or hostile; replace it.",
        ) from error
    except RecursionError as error:
        raise TemplateError(
            "The chat template nests or calls itself without end.",
            "The template in the model's folder is damaged or hostile; replace it.",
        ) from error
    except _FAULTS as error:
        line = f" (line {error.lineno})" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise TemplateError(
            f"The chat template {failure}{line}: {_sentence(error)}",
            "Check the roles and contents of the messages, or the template in the model's folder.",
        ) from error


def _sentence(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if text.endswith((".", "!", "?")) else f"{text}."
