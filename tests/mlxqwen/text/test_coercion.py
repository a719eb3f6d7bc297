from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxqwen.text.channels import Channels, ToolCall
from mlxqwen.text.coercion import coerce, parameter_schemas


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("3", {"type": "string"}, "3"),
        (" 3 ", {"type": "string"}, " 3 "),
        ("null", {"type": "string"}, "null"),
        ("3", {"type": "integer"}, 3),
        (" -3 ", {"type": "integer"}, -3),
        ("3.0", {"type": "integer"}, 3),
        ("3.5", {"type": "integer"}, "3.5"),
        ("three", {"type": "integer"}, "three"),
        ("٣", {"type": "integer"}, "٣"),
        ("3.5", {"type": "number"}, 3.5),
        ("1e3", {"type": "number"}, 1000.0),
        ("7", {"type": "number"}, 7),
        ("nan", {"type": "number"}, "nan"),
        ("1e999", {"type": "number"}, "1e999"),
        ("true", {"type": "boolean"}, True),
        ("False", {"type": "boolean"}, False),
        ("yes", {"type": "boolean"}, "yes"),
        ("null", {"type": "null"}, None),
        ("None", {"type": ["string", "null"]}, None),
        ("text", {"type": ["string", "null"]}, "text"),
        ('{"a": [1]}', {"type": "object"}, {"a": [1]}),
        ("[1, 2]", {"type": "array"}, [1, 2]),
        ("['a', None, True]", {"type": "array"}, ["a", None, True]),
        ("{'a': 'it\\'s'}", {"type": "object"}, {"a": "it's"}),
        ("[1, 2]", {"type": "object"}, "[1, 2]"),
        ("[1, 2", {"type": "array"}, "[1, 2"),
        ("[" * 100_000, {"type": "array"}, "[" * 100_000),
        ("5", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, 5),
        ("null", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, None),
        ("x", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, "x"),
        ("5", {"oneOf": [{"type": "string"}, {"type": "integer"}]}, 5),
        ("2", {"enum": [1, 2]}, 2),
        ("2", {"enum": ["1", "2"]}, "2"),
        ("true", {"const": True}, True),
        ('{"a": 1}', {"properties": {"a": {}}}, {"a": 1}),
        ("[1]", {"items": {}}, [1]),
        ("3", {}, "3"),
        ("3", None, "3"),
        ("3", {"type": "whatever"}, "3"),
        ("3", {"type": 7}, "3"),
        ("3", {"$ref": "#/x"}, "3"),
    ],
)
def test_values_follow_the_schema(text: str, schema: Any, value: Any) -> None:
    found = coerce(text, schema)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("envelope", [True, False])
def test_arguments_of_a_call_take_their_types(envelope: bool) -> None:
    properties = {"n": {"type": "integer"}, "on": {"type": "boolean"}, "tags": {"type": "array"}}
    function = {"name": "f", "parameters": {"type": "object", "properties": properties}}
    tools = [{"type": "function", "function": function} if envelope else function]
    channels = Channels(tools=tools)
    raw = "<function=f>"
    for key, value in {"n": "3", "on": "true", "tags": '["a"]', "other": "4"}.items():
        raw += f"<parameter={key}>{value}</parameter>"
    raw += "</function>"
    wanted = {"n": 3, "on": True, "tags": ["a"], "other": "4"}
    assert channels.feed(raw) + channels.finish() == [ToolCall("f", wanted, raw)]


def test_tools_without_parameters() -> None:
    tools: list[dict[str, Any]] = [{}, {"name": "f"}, {"name": "g", "parameters": None}]
    assert parameter_schemas(tools) == {"None": {}, "f": {}, "g": {}}


@given(value=st.lists(st.integers() | st.text() | st.booleans() | st.none(), max_size=5))
def test_lists_survive_as_json_and_as_python(value: list[Any]) -> None:
    for written in (json.dumps(value), repr(value)):
        assert coerce(written, {"type": "array"}) == value


@given(text=st.text(), schema=st.sampled_from(["integer", "number", "boolean", "object", "array"]))
def test_nothing_raises(text: str, schema: str) -> None:
    value = coerce(text, {"type": schema})
    assert value == text or not isinstance(value, str)
