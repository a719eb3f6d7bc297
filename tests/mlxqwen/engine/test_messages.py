"""Messages: what a template would drop without a word is joined or refused."""

from typing import Any

import pytest

from mlxqwen.engine.messages import plain_message
from mlxqwen.errors import UsageError


def test_text_parts_are_joined_and_the_rest_kept() -> None:
    parts = [{"type": "text", "text": "Who "}, {"type": "text", "text": "are you?"}]
    message = {"role": "user", "content": parts, "name": "x"}
    assert plain_message(message) == {"role": "user", "content": "Who are you?", "name": "x"}


@pytest.mark.parametrize("content", ["text", None])
def test_plain_messages_are_left_alone(content: str | None) -> None:
    message = {"role": "assistant", "content": content, "tool_calls": []}
    assert plain_message(message) is message


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ({"role": "developer", "content": "x"}, "developer"),
        ({"content": "x"}, "None"),
        ({"role": "user", "content": 3}, "3"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "image_url"),
        ({"role": "user", "content": [{"type": "text"}]}, "text"),
        ({"role": "user", "content": [7]}, "none"),
    ],
)
def test_refusals_name_what_they_refuse(message: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        plain_message(message)
